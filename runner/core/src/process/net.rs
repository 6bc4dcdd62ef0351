//! The sockets of a process's network namespace, by inode, as `/proc/PID/net` tells them.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What each socket is, for a person.
pub(super) fn sockets(pid: i32) -> HashMap<u64, String> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let mut found: HashMap<u64, String> = read("unix").lines().filter_map(unix).collect();
    for name in ["tcp", "tcp6", "udp", "udp6"] {
        found.extend(read(name).lines().filter_map(|line| inet(name, line)));
    }
    found
}

/// `Num: RefCount Protocol Flags Type State Inode Path`.
fn unix(line: &str) -> Option<(u64, String)> {
    const LISTENS: u32 = 0x10000;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
    let state = match *words.get(5)? {
        "01" if flags & LISTENS != 0 => "listening",
        "01" => "unconnected",
        "02" => "connecting",
        "03" => "connected",
        "04" => "disconnecting",
        _ => return None,
    };
    let path = words.get(7).copied().unwrap_or("without a name");
    Some((words.get(6)?.parse().ok()?, format!("unix {path} ({state})")))
}

/// `sl local remote state …`, the tenth word being the inode.
fn inet(name: &str, line: &str) -> Option<(u64, String)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let state = match u8::from_str_radix(words.get(3)?, 16).ok()? {
        1 => "connected",
        2 => "connecting",
        3 => "being connected to",
        4..=6 | 8 | 9 | 11 => "closing",
        7 => "unconnected",
        10 => "listening",
        _ => return None,
    };
    let inode = words.get(9)?.parse().ok()?;
    let peer = if remote.port() == 0 { String::new() } else { format!(" to {remote}") };
    Some((inode, format!("{name} {local}{peer} ({state})")))
}

/// Words of the address in the machine's order, the port as a number: `0100007F:1F90`.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = host
        .as_bytes()
        .chunks(8)
        .map(|word| {
            Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes())
        })
        .collect();
    match words?.as_slice() {
        [host] => Some((Ipv4Addr::from(*host), port).into()),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some((Ipv6Addr::from(bytes), port).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn sockets_of_this_process_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        let process = super::super::read(std::process::id().cast_signed()).unwrap();
        let told = super::super::sockets(&process);
        for (fd, what) in [
            (tcp.as_raw_fd(), format!("tcp {} (listening)", tcp.local_addr().unwrap())),
            (unix.as_raw_fd(), format!("unix {} (listening)", path.display())),
            (one.as_raw_fd(), "unix without a name (connected)".to_owned()),
        ] {
            assert!(told.contains(&format!("{fd} {what}")), "no {what} in {told:?}");
        }
    }

    #[test]
    fn addresses_of_both_kinds_are_read() {
        assert_eq!(address("0100007F:1F90"), Some("127.0.0.1:8080".parse().unwrap()));
        let loopback = address("00000000000000000000000001000000:0050");
        assert_eq!(loopback, Some("[::1]:80".parse().unwrap()));
        assert_eq!(address("7F:1"), Some("127.0.0.0:1".parse().unwrap()));
        assert_eq!(address("garbage"), None);
    }
}
