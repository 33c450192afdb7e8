//! Passwords: how they are kept, and how many are worked on at once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::*;

#[tokio::test]
async fn r38_a_password_is_hashed_by_argon2id_and_printed_by_nothing() {
    let passwords = Passwords::new().unwrap();
    let typed = |text: &str| Password::typed(text.into());
    for (text, len) in [("elevenchars", 11), (&*"a".repeat(257), 257)] {
        let refused = passwords.hash(typed(text)).await.unwrap_err();
        assert_eq!(refused, PasswordError::Length(len));
        assert!(!refused.to_string().contains(text));
    }
    let hash = passwords.hash(typed("correct horse battery")).await.unwrap();
    let stored = serde_json::to_string(&hash).unwrap();
    assert!(stored.starts_with("\"$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert_ne!(passwords.hash(typed("correct horse battery")).await.unwrap(), hash, "with a salt of its own");
    assert!(passwords.check(typed("correct horse battery"), Some(hash.clone())).await.unwrap());
    assert!(!passwords.check(typed("correct horse batterx"), Some(hash.clone())).await.unwrap());
    assert!(!passwords.check(typed("nobody's password"), None).await.unwrap(), "without a hash none is right");
    assert_eq!(format!("{:?} {hash:?}", typed("correct horse battery")), "Password(..) PasswordHash(..)");
    for wrong in ["plain", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", ""] {
        assert!(serde_json::from_value::<PasswordHash>(wrong.into()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn r41a_few_passwords_are_worked_on_at_once_and_few_wait() {
    let passwords = Arc::new(Passwords::new().unwrap());
    let (open, closed) = mpsc::channel::<()>();
    let closed = Arc::new(Mutex::new(closed));
    let running = Arc::new(AtomicUsize::new(0));
    let begin = || {
        let (passwords, closed, running) = (passwords.clone(), closed.clone(), running.clone());
        tokio::spawn(async move {
            passwords
                .work(move || {
                    running.fetch_add(1, Ordering::SeqCst);
                    let _ = closed.lock().unwrap().recv();
                })
                .await
        })
    };
    let first: Vec<_> = (0..34).map(|_| begin()).collect();
    while running.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    // All have a place, two work; giving up waiting doesn't make room for a third.
    for task in &first[..2] {
        task.abort();
    }
    tokio::task::yield_now().await;
    assert_eq!(running.load(Ordering::SeqCst), 2);
    assert_eq!(begin().await.unwrap(), Err(Busy));
    drop(open);
    for task in first.into_iter().skip(2) {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(begin().await.unwrap(), Ok(()));
}
