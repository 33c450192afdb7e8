//! Monitors every device of its user, and prints calls and streams, and how each stream stands.
//!
//! ```sh
//! cargo run --example monitor -- 127.0.0.1:2749 callgate app 1 100
//! ```
//!
//! All arguments have these defaults but the last one, after how many events it ends. The folder is the one with `ca.pem`
//! and what `callgate cert issue` wrote for the user and instance.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it is for")]

use std::{env, error::Error, process::ExitCode};

use callgate_sdk::{Connector, Event, Identity, Roots, client::Indicator};

#[tokio::main]
async fn main() -> ExitCode {
    let given: Vec<String> = env::args().skip(1).collect();
    let argument = |i: usize, usual: &str| given.get(i).cloned().unwrap_or_else(|| usual.into());
    let [address, folder, user, instance] =
        [argument(0, "127.0.0.1:2749"), argument(1, "callgate"), argument(2, "app"), argument(3, "1")];
    let Ok(events) = argument(4, &u64::MAX.to_string()).parse() else {
        eprintln!("usage: monitor [ADDRESS [FOLDER [USER [INSTANCE [EVENTS]]]]]");
        return ExitCode::from(2);
    };
    let monitored = tokio::select! {
        monitored = monitor(&address, &folder, &user, &instance, events) => monitored,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match monitored {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monitor: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn monitor(address: &str, folder: &str, user: &str, instance: &str, count: u64) -> Result<(), Box<dyn Error>> {
    let name = format!("{folder}/{user}-{instance}");
    let identity = Identity::from_files(format!("{name}.pem"), format!("{name}.key"))?;
    let roots = Roots::from_file(format!("{folder}/ca.pem"))?;
    let connector = Connector::tls(address, "localhost", identity, roots);
    let (session, mut events) = connector.open(user, instance).await?;

    for device in session.devices("").await? {
        // Keys come only for streams that begin after this.
        let snapshot = session.monitor(&device.name, &[]).await?;
        println!("{}: {} calls in progress", device.name, snapshot.calls.len());
    }
    for _ in 0..count {
        match events.next().await {
            Some(Event::CallState(head, call)) => {
                println!("{} call {:?}, {} to {}", head.device, call.state, call.calling.uri, call.called.uri);
            }
            Some(Event::MediaOpened(head, media)) => {
                let stands = match media.indicator {
                    Indicator::KeysAvailable => "its keys are here".to_owned(),
                    Indicator::KeysUnavailable(reason) => format!("no keys, reason {reason:?} by {}", media.rule),
                    Indicator::NotEncrypted => "not encrypted".to_owned(),
                    other => format!("no keys, {other:?} by {}", media.rule),
                };
                println!("{} {:?} {} to {}: {stands}", head.device, media.direction, media.media, media.destination);
            }
            Some(Event::MediaStopped(head, stopped)) => {
                println!("{} {:?} stopped: {:?}", head.device, stopped.direction, stopped.cause);
            }
            Some(Event::Gap(gap)) => println!("{} lost {} events", gap.device, gap.missed),
            Some(_) => {}
            None => return Err(format!("{}", events.closed().ok_or("the session has ended")?).into()),
        }
    }
    session.close().await;
    Ok(())
}
