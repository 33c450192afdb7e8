//! A first app: opens a session on the secure door, monitors every device of its user, and prints what happens.
//!
//! ```sh
//! cargo run --example first_app
//! cargo run --example first_app -- 127.0.0.1:2749 callgate recorder 1
//! ```
//!
//! Without arguments it is the app of a gateway that `callgate serve` made for trying out. Otherwise the folder is the one
//! that `callgate cert issue` wrote the app's certificate to.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it is for")]

use std::{env, error::Error, fs, path::Path, process::ExitCode};

use callgate_sdk::{Connector, Event, Identity, Roots};

#[tokio::main]
async fn main() -> ExitCode {
    let given: Vec<String> = env::args().skip(1).collect();
    if given.len() > 4 || given.iter().any(|argument| argument.starts_with('-')) {
        eprintln!("usage: first_app [ADDRESS [FOLDER [USER [INSTANCE]]]]");
        return ExitCode::from(2);
    }
    let argument = |place: usize, default| given.get(place).map_or(default, String::as_str);
    let (address, folder) = (argument(0, "127.0.0.1:2749"), argument(1, "callgate"));
    match listen(address, Path::new(folder), argument(2, "app"), argument(3, "1")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("first_app: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn listen(address: &str, folder: &Path, user: &str, instance: &str) -> Result<(), Box<dyn Error>> {
    let read = |name: String| fs::read(folder.join(&name)).map_err(|error| format!("{name}: {error}"));
    let certificate = read(format!("{user}-{instance}.pem"))?;
    let identity = Identity::from_pem(&certificate, &read(format!("{user}-{instance}.key"))?)?;
    let roots = Roots::from_pem(&read("ca.pem".into())?)?;
    // The name must be one of those in the gateway's certificate.
    let (session, mut events) = Connector::tls(address, "localhost", identity, roots).open(user, instance).await?;
    println!("session {} is open, {} devices", session.name(), session.device_count());

    for device in session.devices("").await? {
        // Before the calls begin: keys come only to who was there when they were first seen.
        let snapshot = session.monitor(&device.name, &[]).await?;
        println!("{}: {} calls in progress", device.name, snapshot.calls.len());
    }
    while let Some(event) = events.next().await {
        match event {
            Event::CallState(head, call) => {
                println!("{} {:?}, {} to {}", head.device, call.state, call.calling.uri, call.called.uri);
            }
            Event::MediaOpened(head, media) => {
                let suite = media.suite.as_deref().unwrap_or("no SRTP");
                println!("{} media to {}, {suite}, {:?}", head.device, media.destination, media.indicator);
            }
            Event::MediaStopped(head, media) => println!("{} media stopped, {:?}", head.device, media.cause),
            Event::GatewayLeaving(told) => {
                // An app that must not miss calls opens a session there, by `Connector::to_gateway`, and closes this one.
                println!("this gateway stops in {:?}: go to {:?}", told.closes_in, told.gateways);
            }
            Event::Gap(gap) => println!("{} lost {} events", gap.device, gap.missed),
            _ => {}
        }
    }
    if let Some(closed) = events.closed() {
        println!("closed: {closed}");
    }
    Ok(())
}
