//! A phone: baresip, which must have SRTP, answers by itself, and has a tone for a voice.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use super::{
    pbx::PASSWORD,
    place::Place,
    process::{PATIENCE, Process},
};

/// The phones' names, and their voices in Hz.
pub const PHONES: [(&str, u32); 2] = [("1001", 440), ("1002", 660)];
/// How long their voices are, in seconds: longer than any test.
const VOICE: u32 = 60;

/// A running phone.
pub struct Phone {
    process: Process,
    commands: u16,
}

impl Phone {
    /// Starts one of [`PHONES`].
    pub fn start(place: &Place, which: u16) -> Self {
        let (name, tone) = PHONES[usize::from(which)];
        let voice = place.folder().join(format!("{name}.wav"));
        write_tone(&voice, tone);
        let commands = place.phone_commands(which);
        let (sip, rtp) = (place.phone_sip(which), place.phone_rtp(which));
        let modules = ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules"];
        let modules = modules.into_iter().find(|folder| Path::new(folder).is_dir()).expect("baresip's modules");
        let words = [
            ("NAME", name.to_owned()),
            ("PASSWORD", PASSWORD.into()),
            ("PBX", place.sip().to_string()),
            ("SIP", sip.to_string()),
            ("COMMANDS", commands.to_string()),
            ("RTP_FIRST", rtp.start().to_string()),
            ("RTP_LAST", rtp.end().to_string()),
            ("VOICE", voice.to_str().unwrap().into()),
            ("MODULES", modules.into()),
        ];
        let words = words.each_ref().map(|(word, value)| (*word, value.as_str()));
        let folder = place.folder().join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in ["config", "accounts"] {
            fs::rename(place.write(&format!("baresip/{file}"), &words), folder.join(file)).unwrap();
        }
        fs::write(folder.join("contacts"), "").unwrap();
        let process = Process::start("baresip", "baresip", |command| command.arg("-4").arg("-f").arg(&folder));
        Self { process, commands }
    }

    pub fn wait_until_registered(&self) {
        self.process.wait_for("200 OK");
    }

    pub fn dial(&self, number: &str) {
        self.command("dial", number);
    }

    pub fn hang_up(&self) {
        self.command("hangup", "");
    }

    /// A netstring with a JSON object, as the module `ctrl_tcp` takes it. When it answers, the command was taken.
    fn command(&self, command: &str, parameters: &str) {
        let message = serde_json::json!({ "command": command, "params": parameters }).to_string();
        let mut phone = TcpStream::connect(("127.0.0.1", self.commands)).unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(phone, "{}:{message},", message.len()).unwrap();
        let mut answer = [0; 4096];
        let n = phone.read(&mut answer).unwrap();
        assert!(n > 0, "the phone hung up on {command}");
    }
}

fn write_tone(path: &Path, tone: u32) {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..VOICE * 8000 {
        let turns = f64::from(tone) * f64::from(n) / 8000.0;
        file.write_sample((8000.0 * (std::f64::consts::TAU * turns).sin()) as i16).unwrap();
    }
    file.finalize().unwrap();
}
