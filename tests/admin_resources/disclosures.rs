//! Who got which key, by the audit log of a gateway with sessions and calls.

use callgate::model::CallState;
use callgate_wire::v1::Indicator;
use serde_json::{Value, json};

use crate::{
    common::{
        USERS,
        scripted::{call, fresh_key},
    },
    rig::Rig,
};

/// All parts of a search.
async fn parts(rig: &Rig, query: &str, limit: usize) -> Vec<Value> {
    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let part = rig.get(&format!("/v1/disclosures?limit={limit}&{query}{cursor}")).await.ok(200);
        assert!(part["items"].as_array().unwrap().len() <= limit);
        let next = part["next"].as_str().map(|next| format!("&cursor={next}"));
        assert_eq!(next.is_none(), part["stopped"] == "end", "{part}");
        parts.push(part);
        match next {
            Some(next) => cursor = next,
            None => return parts,
        }
    }
}

async fn items(rig: &Rig, query: &str, limit: usize) -> Vec<Value> {
    let parts = parts(rig, query, limit).await;
    parts.iter().flat_map(|part| part["items"].as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn r21_each_key_that_left_is_found_with_who_got_it_and_no_key_is_told() {
    let rig = Rig::start(USERS, "").await;
    let mut recorders = [rig.session("recorder", "1").await, rig.session("recorder", "2").await];
    let mut viewer = rig.session("viewer", "1").await;
    for session in recorders.iter_mut().chain([&mut viewer]) {
        session.monitor("1001").await;
    }
    for id in 1..=5 {
        let call = call("1001", id);
        rig.script.say(vec![call.state(CallState::Connected), call.opened(id, 1, Some(&fresh_key()))]).await;
        for session in &mut recorders {
            assert_eq!(session.next_media_opened().await.indicator(), Indicator::KeysAvailable);
        }
        assert_eq!(viewer.next_media_opened().await.indicator(), Indicator::UserNotAuthorized);
    }
    let all = items(&rig, "", 500).await;
    assert_eq!(all.len(), 10, "five calls, two sessions, and no refusals");
    assert!(all.iter().all(|item| item["outcome"] == "disclosed" && item["user"] == "recorder"));
    assert!(all[0]["fingerprint"].as_str().unwrap().len() == 16 && all[0]["rule"] == "R16", "{}", all[0]);
    // However short the parts are, each item is in one of them; also where one record has two sessions.
    for limit in [1, 2, 3, 7] {
        assert_eq!(items(&rig, "", limit).await, all, "{limit}");
    }
    let call = all[0]["call"].as_str().unwrap();
    let of_call = format!("call={call}");
    for (query, count) in [
        ("refused=true", 15),
        ("refused=true&user=viewer", 5),
        ("user=viewer", 0),
        ("user=recorder&instance=2", 5),
        (&*of_call, 2),
        ("device=1001", 10),
        ("device=100", 0),
        ("from=2020-01-01", 10),
        ("to=2020-01-01", 0),
        ("from=2999", 0),
        (&*format!("session={}&{of_call}", all[0]["session"].as_str().unwrap()), 1),
    ] {
        for limit in [2, 500] {
            assert_eq!(items(&rig, query, limit).await.len(), count, "{query} {limit}");
        }
    }
    let end = parts(&rig, "", 500).await.pop().unwrap();
    assert_eq!(end["void"], json!([]));
    assert!(end["reached"]["n"].as_u64().unwrap() >= all[9]["n"].as_u64().unwrap());
    rig.finish().await;
}

#[tokio::test]
async fn r21_the_records_themselves_are_read_in_parts_and_by_what_they_are_about() {
    let rig = Rig::start(USERS, "").await;
    let mut recorder = rig.session("recorder", "1").await;
    recorder.monitor("1001").await;
    let made = call("1001", 1);
    let key = fresh_key();
    rig.script.say(vec![made.state(CallState::Connected), made.opened(1, 1, Some(&key))]).await;
    assert_eq!(recorder.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    rig.delete("/v1/sessions?user=recorder").await.ok(200);

    let read = async |query: &str, limit: usize| {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let part = rig.get(&format!("/v1/records?limit={limit}&{query}{cursor}")).await.ok(200);
            let items = part["items"].as_array().unwrap();
            assert!(items.len() <= limit && (part["stopped"] == "full") <= (items.len() == limit), "{part}");
            all.extend(items.clone());
            match part["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    };
    let all = read("", 500).await;
    let numbers: Vec<_> = all.iter().map(|record| record["n"].as_u64().unwrap()).collect();
    assert!(numbers.len() > 5 && numbers.iter().zip(1..).all(|(n, expected)| *n == expected), "{numbers:?}");
    assert!(all.iter().all(|record| record["mac"].as_str().unwrap().len() == 64));
    for limit in [1, 2, 3] {
        assert_eq!(read("", limit).await, all, "{limit}");
    }
    let names = |records: &[Value]| -> Vec<String> {
        records.iter().map(|record| record["record"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&read("record=disclosed", 500).await), ["disclosed"]);
    let of_recorder = names(&read("about=recorder", 2).await);
    for record in ["opened", "disclosed", "administration", "closed"] {
        assert!(of_recorder.iter().any(|name| name == record), "{record}: {of_recorder:?}");
    }
    let session = all.iter().find(|record| record["record"] == "opened").unwrap()["session"].as_str().unwrap();
    assert_eq!(names(&read(&format!("about={session}&record=opened"), 500).await), ["opened"]);
    for (query, count) in [
        ("from=2999", 0),
        ("to=2020-01-01", 0),
        ("from=2020-01-01", all.len()),
        ("about=nobody", 0),
        ("record=none", 0),
    ] {
        assert_eq!(read(query, 500).await.len(), count, "{query}");
    }
    for (wrong, code) in [("from=today", "REQUEST_NOT_UNDERSTOOD"), ("cursor=x", "PAGE_TOKEN_INVALID")] {
        assert_eq!(rig.get(&format!("/v1/records?{wrong}")).await.refused(), (400, code.into()), "{wrong}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn r41a_nonsense_is_refused_and_searches_wait_their_turn() {
    let rig = Rig::start(USERS, "").await;
    for wrong in
        ["from=today", "to=2026-1", "limit=0", "limit=501", "colour=red", "refused=perhaps", "from=", "from=%00"]
    {
        let refused = rig.get(&format!("/v1/disclosures?{wrong}")).await;
        assert_eq!(refused.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()), "{wrong}");
    }
    let sessions = rig.get("/v1/users?limit=1").await.ok(200)["next"].as_str().unwrap().to_owned();
    for wrong in [&*sessions, "x", "ZGlzY2xvc3VyZXMAMS4yMDQ4Ljc", "ZGlzY2xvc3VyZXMAMS4yLjMuNC41"] {
        let refused = rig.get(&format!("/v1/disclosures?cursor={wrong}")).await;
        assert_eq!(refused.refused(), (400, "PAGE_TOKEN_INVALID".into()), "{wrong}");
    }
    // Made up, but one that could be: in the middle of a line, and behind the end of everything.
    for made_up in ["1.77.0.0", "1.99999999.5.3", "18446744073709551615.0.0.0", "1.18446744073709551615.0.0"] {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let cursor = BASE64_URL_SAFE_NO_PAD.encode(format!("disclosures\0{made_up}"));
        let answer = rig.get(&format!("/v1/disclosures?cursor={cursor}")).await;
        assert_eq!(answer.ok(200)["items"], json!([]), "{made_up}");
    }
    let many = (0..12).map(|_| rig.get("/v1/disclosures"));
    for answer in futures_of(many).await {
        answer.ok(200);
    }
    rig.finish().await;
}

/// All at once.
async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in all.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(answer) = future.as_mut().poll(cx) {
                *done = Some(answer);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}
