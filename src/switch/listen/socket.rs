//! The socket: where it listens, how much it holds, and what the kernel lost of it.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What the kernel is asked to hold for us. Usually it gives less.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Opens a socket that doesn't block. Returns it, and how many bytes the kernel holds for it at most, if that is less
/// than we asked for.
pub(super) fn open(address: SocketAddr) -> io::Result<(UdpSocket, Option<usize>)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Whatever the system's habit is: [::] takes IPv4, too.
        socket.set_only_v6(false)?;
    }
    // The kernel takes a wish that is too large for as much as it allows.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let given = socket.recv_buffer_size()?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok((socket.into(), Some(given).filter(|given| *given < RECEIVE_BUFFER)))
}

/// How many datagrams the kernel dropped because the socket's buffer was full; `None` where it doesn't tell.
pub(super) fn kernel_drops(socket: &impl AsRawFd) -> Option<u64> {
    let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?.ino();
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .into_iter()
        .find_map(|table| drops_in(&fs::read_to_string(table).ok()?, inode))
}

/// Reads the table of proc(5): the tenth column is the inode, the last one counts drops.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let found: u64 = columns.nth(9)?.parse().ok()?;
        if found == inode { columns.next_back()?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_sockets_is_read() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  204: 0100007F:2364 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0000000000000000 17
  205: 0100007F:2365 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4712 2 0000000000000000 0
nonsense
";
        assert_eq!((drops_in(table, 4711), drops_in(table, 4712), drops_in(table, 1)), (Some(17), Some(0), None));
    }

    #[test]
    fn r41a_what_the_kernel_drops_is_told() {
        let (socket, _) = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let Some(before) = kernel_drops(&socket) else { return };
        assert_eq!(before, 0);
        // Nobody reads: whatever the buffer's size is, it is full in the end.
        for _ in 0..2048 {
            sender.send_to(&[0; 32_768], to).unwrap();
        }
        assert!(kernel_drops(&socket).unwrap() > 0);
    }
}
