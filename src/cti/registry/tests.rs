use super::*;

fn registry(sessions: usize, sessions_per_user: usize) -> Arc<Registry> {
    let limits = Limits { sessions, sessions_per_user, ..Limits::default() };
    Arc::new(Registry::new(limits, 0))
}

fn ask(registry: &Arc<Registry>, door: Door, user: &str, instance: &str) -> Result<Entered, ErrorCode> {
    registry.enter(door, &user.parse().unwrap(), &instance.parse().unwrap())
}

/// As [`ask`], where nobody waits: a place that is taken is refused.
fn enter(registry: &Arc<Registry>, door: Door, user: &str, instance: &str) -> Result<Lease, ErrorCode> {
    match ask(registry, door, user, instance)? {
        Entered::In(lease) => Ok(lease),
        Entered::Waits(_) => Err(ErrorCode::InstanceAlreadyOpen),
    }
}

fn wait(registry: &Arc<Registry>) -> oneshot::Receiver<Outcome> {
    match ask(registry, Door::Tls, "app", "1") {
        Ok(Entered::Waits(outcome)) => outcome,
        Ok(Entered::In(_)) => panic!("the place was free"),
        Err(code) => panic!("{code:?}"),
    }
}

const KEY: SessionKey = SessionKey { place: 3, turn: 1 };

/// How many probes were ordered.
fn probes(orders: &mut mpsc::UnboundedReceiver<Order>) -> usize {
    let mut probes = 0;
    while let Ok(order) = orders.try_recv() {
        assert!(matches!(order, Order::Probe(KEY)));
        probes += 1;
    }
    probes
}

#[test]
fn r12_one_probe_serves_all_who_wait_and_who_is_alive_stays() {
    let registry = registry(1, 1);
    let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
    let (worker, mut orders) = mpsc::unbounded_channel();
    let early = wait(&registry);
    assert_eq!(probes(&mut orders), 0, "nobody knows yet where it lives");
    first.settle(worker, KEY);
    assert_eq!(probes(&mut orders), 1);
    let mut waiting = [early, wait(&registry), wait(&registry)];
    assert_eq!(probes(&mut orders), 0);
    assert!(first.is_wanted());
    assert_eq!(first.keep(), 3);
    for outcome in &mut waiting {
        assert_eq!(outcome.try_recv().unwrap().err(), Some(ErrorCode::InstanceAlreadyOpen));
    }
    assert!(!first.is_wanted());
    let _next = wait(&registry);
    assert_eq!(probes(&mut orders), 1, "the next one asks anew");
}

#[test]
fn r12_the_first_who_waits_and_is_still_there_takes_the_place_over() {
    // There is room for no other session.
    let registry = registry(1, 1);
    let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
    let (worker, mut orders) = mpsc::unbounded_channel();
    first.settle(worker, KEY);
    let name = Arc::clone(&first.session);
    let gone = wait(&registry);
    let (mut second, mut third) = (wait(&registry), wait(&registry));
    drop(gone);
    drop(first);
    let lease = second.try_recv().unwrap().ok().unwrap();
    assert_ne!(lease.session, name, "it is another session");
    assert_eq!(third.try_recv().unwrap().err(), Some(ErrorCode::InstanceAlreadyOpen));
    assert_eq!(registry.sessions(), 1);
    assert_eq!(enter(&registry, Door::Tls, "other", "1").err(), Some(ErrorCode::TooManySessions));
    assert_eq!(probes(&mut orders), 1);

    // The old home is not asked for the new session.
    let waiting = wait(&registry);
    assert_eq!(probes(&mut orders), 0);
    drop(waiting);
    assert!(!lease.is_wanted(), "nobody waits any more");
    drop(lease);
    assert_eq!(registry.sessions(), 0);
    assert!(enter(&registry, Door::Tls, "other", "1").is_ok());
}

#[test]
fn r12_who_never_took_a_place_that_was_given_leaves_it_free() {
    let registry = registry(1, 1);
    let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
    let given = wait(&registry);
    drop(first);
    assert_eq!(registry.sessions(), 1);
    drop(given);
    assert_eq!(registry.sessions(), 0);
    assert!(enter(&registry, Door::Tls, "app", "1").is_ok());

    let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
    let waiting = [wait(&registry), wait(&registry)];
    drop(waiting);
    drop(first);
    assert_eq!(registry.sessions(), 0, "they had all gone before");
}

#[test]
fn r12_there_are_never_two_and_somebody_always_gets_in() {
    let registry = registry(1, 1);
    for _ in 0..200 {
        let running = std::sync::atomic::AtomicUsize::new(1);
        let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
        let got_in: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let lease = loop {
                            match ask(&registry, Door::Tls, "app", "1") {
                                Ok(Entered::In(lease)) => break lease,
                                Ok(Entered::Waits(outcome)) => match outcome.blocking_recv() {
                                    Ok(Ok(lease)) => break lease,
                                    Ok(Err(code)) => {
                                        assert_eq!(code, ErrorCode::InstanceAlreadyOpen);
                                        return 0;
                                    }
                                    Err(_) => {}
                                },
                                Err(code) => panic!("{code:?}"),
                            }
                        };
                        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                        1
                    })
                })
                .collect();
            running.fetch_sub(1, Ordering::SeqCst);
            drop(first);
            tries.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert!(got_in >= 1 && registry.sessions() == 0);
    }
}

#[test]
fn r12_one_instance_has_one_session() {
    let registry = registry(10, 10);
    let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
    assert_eq!(enter(&registry, Door::Tls, "app", "1").err(), Some(ErrorCode::InstanceAlreadyOpen));
    assert!(enter(&registry, Door::Tls, "app", "2").is_ok());
    assert!(enter(&registry, Door::Tls, "other", "1").is_ok());
    assert!(enter(&registry, Door::Clear, "app", "1").is_ok(), "a label doesn't stand for an instance");
    drop(first);
    assert!(enter(&registry, Door::Tls, "app", "1").is_ok());
    assert_eq!(registry.sessions(), 0);
}

#[test]
fn each_refusal_has_a_cause_of_its_own() {
    let registry = registry(2, 1);
    let _leases =
        [enter(&registry, Door::Tls, "a", "1").ok().unwrap(), enter(&registry, Door::Tls, "b", "1").ok().unwrap()];
    let cause_of = |user, instance| cause(enter(&registry, Door::Tls, user, instance).err().unwrap());
    assert_eq!(cause_of("a", "1"), "the instance has an open session, which is alive");
    assert_eq!(cause_of("c", "1"), "as many sessions as limits.sessions are open");
    let registry = self::registry(2, 1);
    let _lease = enter(&registry, Door::Tls, "a", "1").ok().unwrap();
    let code = enter(&registry, Door::Tls, "a", "2").err().unwrap();
    assert_eq!(cause(code), "as many sessions of the user as limits.sessions_per_user are open");
}

#[test]
fn r41a_sessions_are_bounded_per_user_and_in_all() {
    let registry = registry(3, 2);
    let _leases =
        [enter(&registry, Door::Tls, "a", "1").ok().unwrap(), enter(&registry, Door::Tls, "a", "2").ok().unwrap()];
    assert_eq!(enter(&registry, Door::Tls, "a", "3").err(), Some(ErrorCode::TooManySessionsOfUser));
    let last = enter(&registry, Door::Tls, "b", "1").ok().unwrap();
    assert_eq!(enter(&registry, Door::Tls, "c", "1").err(), Some(ErrorCode::TooManySessions));
    drop(last);
    assert!(enter(&registry, Door::Tls, "c", "1").is_ok());
}

#[test]
fn r41a_who_finds_its_instance_free_finds_a_place() {
    let registry = registry(1, 1);
    for _ in 0..500 {
        let lease = enter(&registry, Door::Tls, "a", "1").ok().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(lease));
            while let Err(code) = enter(&registry, Door::Tls, "a", "1") {
                assert_eq!(code, ErrorCode::InstanceAlreadyOpen);
            }
        });
    }
}
