//! The usual way to build it: a task and a queue per session; all frames of a wake-up go in one record and one write.
//!
//! It knows no users, no rights and no protocol. This is the server that the goals are ratios to.

use std::{cell::RefCell, net::Ipv4Addr, path::Path, rc::Rc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::TlsAcceptor;

use super::{SUBSCRIBE, meet};
use crate::{events::Template, lab};

/// The most frames of one wake-up.
const MOST: usize = 512;

type Queues = Rc<RefCell<Vec<mpsc::UnboundedSender<Bytes>>>>;

pub fn run(folder: &Path) {
    let acceptor = TlsAcceptor::from(lab::bare_config(folder));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut control = meet(listener.local_addr().unwrap()).await;
        let queues = Queues::default();
        spawn_local(accept(listener, acceptor, Rc::clone(&queues)));
        let template = Template::new();
        while let Some(events) = control.next().await {
            let queues = queues.borrow();
            for number in events {
                let frame = template.frame(number);
                for queue in queues.iter() {
                    // A session that is gone takes nothing more.
                    let _ = queue.send(frame.clone());
                }
            }
        }
    });
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, queues: Queues) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, queues) = (acceptor.clone(), Rc::clone(&queues));
        spawn_local(async move {
            // The load ends connections as it likes.
            let _ = session(tcp, acceptor, queues).await;
        });
    }
}

async fn session(tcp: TcpStream, acceptor: TlsAcceptor, queues: Queues) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut request = [0; SUBSCRIBE.len()];
    stream.read_exact(&mut request).await?;
    let (sender, mut queue) = mpsc::unbounded_channel();
    queues.borrow_mut().push(sender);
    stream.write_all(SUBSCRIBE).await?;
    stream.flush().await?;

    let mut frames = Vec::new();
    loop {
        tokio::select! {
            _ = queue.recv_many(&mut frames, MOST) => {
                match &frames[..] {
                    [one] => stream.write_all(one).await?,
                    many => {
                        let mut all = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
                        many.iter().for_each(|frame| all.extend_from_slice(frame));
                        stream.write_all(&all).await?;
                    }
                }
                frames.clear();
                stream.flush().await?;
            }
            read = stream.read(&mut request) => if read? == 0 { return Ok(()) },
        }
    }
}
