//! A client as a stranger would write it: from `cti.proto`, docs/PROTOCOL.md and the RFCs, with no code of ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test"
)]

pub mod scram;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value, prost::Message as _};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// No answer takes as long as this.
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct Client {
    stream: Box<dyn Stream>,
    /// What `tls-exporter` says of the connection (RFC 9266), on the TLS door.
    pub exported: Option<[u8; 32]>,
    to_gateway: MessageDescriptor,
    to_app: MessageDescriptor,
    next_request: u64,
}

/// A message of the gateway.
pub struct Received(DynamicMessage);

impl Client {
    pub async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let exported =
            stream.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        Self { exported: Some(exported), ..Self::new(Box::new(stream)) }
    }

    pub async fn clear(address: SocketAddr) -> Self {
        Self::new(Box::new(TcpStream::connect(address).await.unwrap()))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        let pool = compile();
        let message = |name| pool.get_message_by_name(name).unwrap();
        let (to_gateway, to_app) = (message("callgate.cti.v1.ToGateway"), message("callgate.cti.v1.ToApp"));
        Self { stream, exported: None, to_gateway, to_app, next_request: 1 }
    }

    /// Sends a message, written in protobuf's text format, and returns its number.
    pub async fn send(&mut self, text: &str) -> u64 {
        let request_id = self.next_request;
        self.next_request += 1;
        let text = format!("request_id: {request_id} {text}");
        let message = DynamicMessage::parse_text_format(self.to_gateway.clone(), &text).unwrap();
        self.send_body(&message.encode_to_vec()).await;
        request_id
    }

    /// Sends a frame.
    pub async fn send_body(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&length, body].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next message; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Received> {
        let mut length = [0; 4];
        timeout(PATIENCE, self.stream.read_exact(&mut length)).await.expect("no answer").ok()?;
        let length = u32::from_be_bytes(length);
        assert!(length <= 64 * 1024, "a frame of {length} bytes");
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).await.unwrap();
        Some(Received(DynamicMessage::decode(self.to_app.clone(), &*body).unwrap()))
    }

    /// The next message, which is of this kind.
    pub async fn expect(&mut self, kind: &str) -> Received {
        let message = self.next().await.expect("the connection ended");
        assert_eq!(message.kind(), kind, "{:?}", message.0);
        message
    }

    /// The answer of this kind to a request.
    pub async fn ask(&mut self, text: &str, kind: &str) -> Received {
        let request_id = self.send(text).await;
        let answer = self.expect(kind).await;
        assert_eq!(answer.number("reply_to"), request_id);
        answer
    }
}

impl Received {
    /// Which message it is.
    pub fn kind(&self) -> String {
        let oneof = self.0.descriptor().oneofs().next().unwrap();
        oneof.fields().find(|field| self.0.has_field(field)).map(|field| field.name().to_owned()).unwrap_or_default()
    }

    /// Whether the field at the end of this path is set.
    pub fn has(&self, path: &str) -> bool {
        let (parent, name) = path.rsplit_once('.').unwrap();
        self.at(parent).as_message().unwrap().has_field_by_name(name)
    }

    /// The value at a path of field names and places in lists, such as `device_list.devices.0.name`.
    pub fn at(&self, path: &str) -> Value {
        path.split('.').fold(Value::Message(self.0.clone()), |value, step| match value {
            Value::Message(message) => {
                message.get_field_by_name(step).unwrap_or_else(|| panic!("no field {step} of {path}")).into_owned()
            }
            Value::List(list) => list[step.parse::<usize>().unwrap()].clone(),
            other => panic!("{other:?} has no {step} of {path}"),
        })
    }

    pub fn text(&self, path: &str) -> String {
        self.at(path).as_str().unwrap().to_owned()
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        self.at(path).as_bytes().unwrap().to_vec()
    }

    pub fn number(&self, path: &str) -> u64 {
        match self.at(path) {
            Value::U32(number) => number.into(),
            Value::U64(number) => number,
            Value::I64(number) => number.try_into().unwrap(),
            Value::EnumNumber(number) => number.try_into().unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }
}

/// Bytes as a string of protobuf's text format.
pub fn quoted(bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("\"{escaped}\"")
}

fn compile() -> DescriptorPool {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    protox::Compiler::new([proto]).unwrap().open_files(["callgate/cti/v1/cti.proto"]).unwrap().descriptor_pool()
}
