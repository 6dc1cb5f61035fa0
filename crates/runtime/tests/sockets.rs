//! Real sockets: who holds a port, addresses that come later, stale socket files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at what the doors left behind, and say it"
)]

use mainstay_runtime::sockets::{Address, ListenError, listen_tcp, listen_tcp_beside, listen_unix};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

/// Whether this kernel has IPv6 at all; where it has none there is nothing of it to try, and the test says so.
fn has_ipv6() -> bool {
    let has = std::path::Path::new("/proc/net/if_inet6").exists();
    if !has {
        println!("the kernel has no IPv6 (/proc/net/if_inet6 is missing): its half of the test is left out");
    }
    has
}

#[test]
fn a_taken_port_names_who_has_it() {
    let first = listen_tcp("127.0.0.1:0".parse().unwrap(), Address::Present).unwrap();
    let address = first.local_addr().unwrap();
    let error = listen_tcp(address, Address::Present).unwrap_err();
    let ListenError::Taken { holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!(holder.as_ref().map(|holder| holder.pid), Some(std::process::id()));
    let text = error.to_string();
    assert!(text.starts_with(&format!("port {} of 127.0.0.1 is taken by `", address.port())), "{text}");
    let everywhere = format!("0.0.0.0:{}", address.port()).parse().unwrap();
    assert!(matches!(listen_tcp(everywhere, Address::Present), Err(ListenError::Taken { holder: Some(_), .. })));
}

#[test]
fn an_address_may_come_later_when_that_is_said() {
    // TEST-NET-1 is nobody's.
    let address = "192.0.2.77:0".parse().unwrap();
    let error = listen_tcp(address, Address::Present).unwrap_err();
    assert_eq!(error.to_string(), "192.0.2.77 is no address of this machine");
    listen_tcp(address, Address::MayComeLater).unwrap();
    if has_ipv6() {
        listen_tcp("[2001:db8::77]:0".parse().unwrap(), Address::MayComeLater).unwrap();
    }
}

#[test]
fn both_families_can_have_one_port() {
    let v4 = listen_tcp("0.0.0.0:0".parse().unwrap(), Address::Present).unwrap();
    let port = v4.local_addr().unwrap().port();
    if has_ipv6() {
        listen_tcp(format!("[::]:{port}").parse().unwrap(), Address::Present).unwrap();
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    drop(listen_unix(&path, 0o600, None).unwrap());
    assert!(path.exists(), "a closed listener leaves its file");
    let second = listen_unix(&path, 0o660, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    UnixStream::connect(&path).unwrap();
    assert!(matches!(listen_unix(&path, 0o600, None), Err(ListenError::UnixTaken { .. })));
    drop(second);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "not a socket").unwrap();
    assert!(listen_unix(&dir.path().join("none/api.sock"), 0o600, None).is_err());
}

#[test]
fn a_socket_of_ours_makes_room_for_a_more_particular_one_and_for_nobody_else() {
    for (first, second) in [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")] {
        let first = listen_tcp(format!("{first}:0").parse().unwrap(), Address::Present).unwrap();
        let port = first.local_addr().unwrap().port();
        let address = format!("{second}:{port}").parse().unwrap();
        assert!(matches!(listen_tcp(address, Address::Present), Err(ListenError::Taken { .. })));
        let second = listen_tcp_beside(address, &[first.as_fd()]).unwrap();
        let particular = if address.ip().is_loopback() { &second } else { &first };
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = particular.accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
        assert!(matches!(listen_tcp(address, Address::Present), Err(ListenError::Taken { .. })));
    }
}
