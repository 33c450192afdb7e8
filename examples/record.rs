//! Records calls: a stereo WAV file for each call of each device, what the device sent left and what it heard right.
//!
//! ```sh
//! cargo run --example record -- call.pcap
//! tcpdump -i eth0 -U -w - udp | cargo run --example record -- -
//! ```
//!
//! Packets come from a capture, also from one that is still being made; keys come from the gateway. Ctrl-C ends it. More
//! arguments, with their defaults: `127.0.0.1:2749 callgate app 1 .`, the last one the folder for the files.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it is for")]

use std::os::unix::fs::OpenOptionsExt as _;
use std::{env, error::Error, fs::File, io, path::Path, process::ExitCode, thread, time::Instant};

use callgate::switch::capture::Capture;
use callgate_sdk::{Connector, Identity, Roots, record};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> ExitCode {
    let given: Vec<String> = env::args().skip(1).collect();
    let Some(capture) = given.first() else {
        eprintln!("usage: record CAPTURE [ADDRESS [FOLDER [USER [INSTANCE [OUT]]]]]");
        return ExitCode::from(2);
    };
    let argument = |i: usize, usual: &'static str| given.get(i).map_or(usual, String::as_str);
    let app = [argument(1, "127.0.0.1:2749"), argument(2, "callgate"), argument(3, "app"), argument(4, "1")];
    if let Err(error) = record(capture, app, Path::new(argument(5, "."))).await {
        eprintln!("record: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn record(capture: &str, [address, folder, user, instance]: [&str; 4], out: &Path) -> Result<(), Box<dyn Error>> {
    let name = format!("{folder}/{user}-{instance}");
    let identity = Identity::from_files(format!("{name}.pem"), format!("{name}.key"))?;
    let roots = Roots::from_file(format!("{folder}/ca.pem"))?;
    let (session, mut events) = Connector::tls(address, "localhost", identity, roots).open(user, instance).await?;
    for device in session.devices("").await? {
        session.monitor(&device.name, &[]).await?;
    }
    // An app may have another source of packets, such as a mirror port; this is the reader that the gateway has.
    let (packets, mut captured) = mpsc::channel(1024);
    let capture = if capture == "-" { Capture::from_reader(io::stdin())? } else { Capture::open(capture.as_ref())? };
    thread::spawn(move || {
        for packet in capture.map_while(Result::ok).filter(|packet| packet.is_rtp() && !packet.cut) {
            let (at_micros, payload) = (packet.at.0, packet.payload.to_vec().into());
            let _ = packets.blocking_send(record::Packet { at_micros, destination: packet.destination, payload });
        }
    });
    let (mut recorder, mut clock) = (record::Recorder::new(), tokio::time::interval(record::LINGER / 4));
    println!("recording {} devices", session.device_count());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => recorder.on_event(&event, Instant::now()),
                None => break println!("closed: {:?}", events.closed().map(ToString::to_string)),
            },
            Some(packet) = captured.recv() => recorder.on_packet(packet),
            _ = clock.tick() => recorder.take_ended(Instant::now()).iter().try_for_each(|call| save(call, out))?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    recorder.finish().iter().try_for_each(|call| save(call, out))
}

fn save(call: &record::Recording, out: &Path) -> Result<(), Box<dyn Error>> {
    let (file, mut wav) = (out.join(call.file_name()), io::Cursor::new(Vec::new()));
    match call.write_wav(&mut wav) {
        Ok(written) => {
            let mut new = File::options().write(true).create(true).truncate(true).mode(0o600).open(&file)?;
            io::Write::write_all(&mut new, wav.get_ref())?;
            println!("{}: {} s, {} packets", file.display(), written.samples / 8000, written.packets);
        }
        Err(error) => println!("{}: {error}, {:?}", file.display(), [call.sent.indicator, call.received.indicator]),
    }
    Ok(())
}
