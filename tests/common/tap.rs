//! A TCP relay in front of the clear door that keeps every byte that the gateway sends.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub struct Tap {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<u8>>>,
    accepting: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Tap {
    pub async fn before(door: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let keep = Arc::clone(&kept);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let accepting = tokio::spawn(async move {
            let mut relays = JoinSet::new();
            while let Some(Ok((app, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let Ok(gateway) = TcpStream::connect(door).await else { break };
                relays.spawn(relay(app, gateway, Arc::clone(&keep)));
            }
            while relays.join_next().await.is_some() {}
        });
        Self { address, kept, accepting, stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was sent, once the gateway behind it has closed all its connections.
    pub async fn finish(self) -> Vec<u8> {
        self.stop.cancel();
        let _ = self.accepting.await;
        std::mem::take(&mut self.kept.lock().unwrap())
    }
}

async fn relay(app: TcpStream, gateway: TcpStream, kept: Arc<Mutex<Vec<u8>>>) {
    let (mut from_app, mut to_app) = app.into_split();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from_app, &mut to_gateway).await;
        let _ = to_gateway.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_gateway.read(&mut buffer).await {
            kept.lock().unwrap().extend_from_slice(&buffer[..n]);
            if to_app.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
        let _ = to_app.shutdown().await;
    };
    // When the gateway has ended its side, all that it sent is with the app.
    tokio::select! {
        () = down => {}
        () = async { up.await; std::future::pending::<()>().await } => {}
    }
}
