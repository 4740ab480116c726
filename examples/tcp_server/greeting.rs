//! What the server says when it is ready: where it is, where its data is, and what to do next.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use switchboard::store::Durability;

use crate::settings::{LISTEN, Settings};

/// Says it. The first line is for programs, too: it stays as it is.
pub(crate) fn greet(settings: &Settings, address: SocketAddr, connections_max: usize) {
    let text = format!(
        "listening on {address}\n{}\nat most {connections_max} connections; Ctrl-C stops the server\n\
         to talk, in two other terminals:\n{}{}",
        kept(settings),
        chat(settings, address, "alice"),
        chat(settings, address, "bob"),
    );
    let mut out = io::stdout().lock();
    // Who started the server may have closed its end: that is no reason to stop.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn kept(settings: &Settings) -> String {
    let survives = match settings.durability {
        Durability::Memory => return "messages are in memory only, and gone when the server ends".to_owned(),
        Durability::Process => "a crash of the server; a power cut may take the last 10 seconds",
        _ => "a power cut",
    };
    // The whole path: a relative one depends on where the server was started.
    let data = std::path::absolute(&settings.data).unwrap_or_else(|_| settings.data.clone());
    format!("messages are kept in {}: what is acknowledged survives {survives}", data.display())
}

/// A command that starts a chat with this server.
fn chat(settings: &Settings, address: SocketAddr, name: &str) -> String {
    let mut command = format!("  cargo run --release --example chat -- --as {name}");
    let connect = reachable(address).to_string();
    if connect != LISTEN {
        command += &format!(" --connect {connect}");
    }
    if settings.master_key.is_some() {
        let app_id = settings.app_id.as_deref().map_or_else(String::new, |id| format!(" --app-id {id}"));
        command += &format!("{app_id} --master-key KEY");
    }
    command + "\n"
}

/// An address that can be connected to, on this machine where the server listens on every one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
