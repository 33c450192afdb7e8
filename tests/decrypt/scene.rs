//! Scenes of calls: SIP as the RFCs have it, and voices, on their way into a capture.
//!
//! Phone A is at 10.0.0.11 and phone B at 10.0.0.12, the PBX P at 10.0.0.1; each signals on port 5060. A and B have
//! their media on port 4000 (`a`, `b`), P on ports 6000 (`p`, towards A) and 6100 (`q`, towards B).

use std::{collections::HashSet, fs, net::SocketAddr};

use base64::{Engine, prelude::BASE64_STANDARD};

pub use crate::{
    answer::{Answer, decrypt},
    voice::*,
};
use crate::{
    capture::{self, File},
    leaks,
};

/// Who begins a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Caller,
    Called,
}

/// A dialog, and the way that its messages take from the caller to the called end.
#[derive(Clone)]
pub struct Dialog {
    pub id: String,
    pub hops: Vec<SocketAddr>,
    /// The tag of the called end.
    pub tag: String,
    /// More headers of each message, each with its line end.
    pub headers: String,
}

pub fn dialog(id: &str, hops: &str) -> Dialog {
    let hops = hops.split(' ').map(at).collect();
    Dialog { id: id.into(), hops, tag: "called".into(), headers: String::new() }
}

impl Dialog {
    pub fn text(&self, start: &str, by: By, cseq: &str, tagged: bool, hop: usize, body: &str) -> String {
        let tag = if tagged { format!(";tag={}", self.tag) } else { String::new() };
        let (caller, called) = ("<sip:anyone@10.9.9.9>;tag=caller".to_owned(), format!("<sip:one@10.9.9.9>{tag}"));
        let (from, to) = if by == By::Caller { (caller, called) } else { (called, caller) };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let branch = cseq.replace(' ', "") + &self.id;
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 10.9.9.{hop};branch=z9hG4bK{branch}{hop}\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {}\r\nCSeq: {cseq}\r\n{}{kind}Content-Length: {}\r\n\r\n{body}",
            self.id,
            self.headers,
            body.len()
        )
    }
}

/// A capture in the making.
pub struct Scene {
    pub file: File,
    /// The capture's clock, in microseconds.
    pub now: i64,
    /// How far HEP's clock is ahead.
    pub skew: i64,
    /// IP protocol number of SIP.
    pub transport: u8,
    /// Each SIP message's text is changed by this before it is sent.
    pub rewrite: fn(String) -> String,
    /// HEP chunks are changed by this.
    pub reshape: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>,
    pub collector: [SocketAddr; 2],
    keys: Vec<Vec<u8>>,
}

impl Scene {
    /// With phone A registered at P.
    pub fn new() -> Self {
        let mut scene = Self::empty();
        scene.register("A", "P");
        scene
    }

    pub fn empty() -> Self {
        Self {
            file: File::default(),
            now: 1_790_000_000_000_000,
            skew: 0,
            transport: 17,
            rewrite: |text| text,
            reshape: |chunks| chunks,
            collector: ["10.0.0.1:40000".parse().unwrap(), "10.0.0.99:9060".parse().unwrap()],
            keys: Vec::new(),
        }
    }

    pub fn register(&mut self, phone: &str, registrar: &str) {
        self.register_along(&[at(phone), at(registrar)]);
    }

    pub fn register_over(&mut self, phone: &str, proxy: &str, registrar: &str) {
        self.register_along(&[at(phone), at(proxy), at(registrar)]);
    }

    fn register_along(&mut self, hops: &[SocketAddr]) {
        let phone = hops[0];
        let head = |start: &str| {
            format!(
                "{start}\r\nVia: SIP/2.0/UDP {phone};branch=z9hG4bKr\r\nFrom: <sip:x@x>;tag=r\r\nTo: <sip:x@x>\r\n\
                 Call-ID: register-{phone}\r\nCSeq: 1 REGISTER\r\nContact: <sip:x@{phone}>;expires=600\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        };
        for pair in hops.windows(2) {
            self.sip(pair[0], pair[1], head("REGISTER sip:x SIP/2.0"));
        }
        for pair in hops.windows(2).rev() {
            self.sip(pair[1], pair[0], head("SIP/2.0 200 OK"));
        }
    }

    pub fn wait(&mut self, milliseconds: i64) -> &mut Self {
        self.now += milliseconds * 1000;
        self
    }

    /// Sends a SIP message, and its copy as HEP, 5 ms later.
    pub fn sip(&mut self, from: SocketAddr, to: SocketAddr, text: String) {
        self.now += 5000;
        for line in text.split("inline:").skip(1) {
            let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).unwrap_or(line.len());
            self.keys.extend(BASE64_STANDARD.decode(&line[..end]));
        }
        let text = (self.rewrite)(text);
        let chunks = capture::chunks(self.transport, from, to, self.now + self.skew, &text);
        let packet = capture::hep(&(self.reshape)(chunks));
        let [collector_from, collector_to] = self.collector;
        self.file.udp(self.now, collector_from, collector_to, &packet);
    }

    /// A request within or without a dialog, over all its hops.
    pub fn request(&mut self, dialog: &Dialog, by: By, method: &str, cseq: u32, body: &str) -> &mut Self {
        let tagged = !(method == "INVITE" && cseq < 10 || method == "CANCEL");
        let start = format!("{method} sip:someone@10.9.9.9 SIP/2.0");
        self.pass(dialog, by, by, &start, &format!("{cseq} {method}"), tagged, body)
    }

    /// A response to a request that `by` sent.
    pub fn response(&mut self, dialog: &Dialog, by: By, code: u16, cseq: &str, body: &str) -> &mut Self {
        let back = if by == By::Caller { By::Called } else { By::Caller };
        self.pass(dialog, by, back, &format!("SIP/2.0 {code} Whatever"), cseq, code > 100, body)
    }

    #[expect(clippy::too_many_arguments, reason = "a test")]
    fn pass(&mut self, d: &Dialog, by: By, sender: By, start: &str, cseq: &str, tagged: bool, body: &str) -> &mut Self {
        let mut hops = d.hops.clone();
        if sender == By::Called {
            hops.reverse();
        }
        let last = hops.len() - 2;
        for (i, pair) in hops.windows(2).enumerate() {
            // A response goes back over the hops of its request, with their branches.
            let hop = if by == sender { i } else { last - i };
            self.sip(pair[0], pair[1], d.text(start, by, cseq, tagged, hop, body));
        }
        self
    }

    /// INVITE, 100, 180, 200, ACK.
    pub fn call(&mut self, dialog: &Dialog, offer: &str, answer: &str) -> &mut Self {
        self.request(dialog, By::Caller, "INVITE", 1, offer);
        for code in [100, 180] {
            self.response(dialog, By::Caller, code, "1 INVITE", "");
        }
        self.response(dialog, By::Caller, 200, "1 INVITE", answer);
        self.request(dialog, By::Caller, "ACK", 1, "")
    }

    /// A later INVITE of the dialog (CSeq from 10 on), answered with 200 and ACK.
    pub fn reinvite(&mut self, dialog: &Dialog, by: By, cseq: u32, offer: &str, answer: &str) -> &mut Self {
        self.request(dialog, by, "INVITE", cseq, offer);
        self.response(dialog, by, 200, &format!("{cseq} INVITE"), answer);
        self.request(dialog, by, "ACK", cseq, "")
    }

    pub fn bye(&mut self, dialog: &Dialog, by: By) -> &mut Self {
        self.request(dialog, by, "BYE", 99, "");
        self.response(dialog, by, 200, "99 BYE", "")
    }

    pub fn udp(&mut self, from: &str, to: &str, payload: &[u8]) -> &mut Self {
        self.file.udp(self.now, at(from), at(to), payload);
        self
    }

    /// Some packets of each voice, 20 ms apart.
    pub fn talk(&mut self, voices: &mut [&mut Voice], packets: usize) -> &mut Self {
        for _ in 0..packets {
            self.now += 20_000;
            for voice in &mut *voices {
                let packet = voice.packet();
                self.file.udp(self.now, voice.from, voice.to, &packet);
            }
        }
        self
    }

    /// Runs the real command, and checks the shape of what it says, and that no key is in it.
    pub fn decrypt(&self) -> Answer {
        self.decrypt_bytes(&self.file.bytes())
    }

    pub fn decrypt_bytes(&self, bytes: &[u8]) -> Answer {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("call.pcap");
        fs::write(&path, bytes).unwrap();
        let answer = decrypt(&path, &folder.path().join("voices"));
        for key in self.keys.iter().collect::<HashSet<_>>() {
            for (what, text) in [("standard output", &answer.out), ("standard error", &answer.err)] {
                assert_eq!(leaks::find_key(key, text.as_bytes()), None, "a key is on {what}");
            }
        }
        answer
    }
}
