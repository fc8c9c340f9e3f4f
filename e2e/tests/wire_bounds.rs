//! Garbage, half frames, absurd lengths, slow and silent connections: the broker's memory stays bounded, others notice nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::{Cluster, Result, wait};

/// What the anonymous memory of the broker may grow by.
const GROWTH_KIB: u64 = 64 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

fn broker(cluster: &Cluster) -> Result<(SocketAddr, u32)> {
    let (_, pid) = cluster.brokers()?.into_iter().next().context("no broker runs")?;
    // the first broker group listens at 100 above the base
    let port = cluster.port_base() + 100;
    Ok((SocketAddr::from(([127, 0, 0, 1], port)), pid))
}

fn anonymous_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    line.split_whitespace().nth(1).context("no number")?.parse().context("not a number")
}

/// Whether the other side has closed the connection.
fn closed(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    match stream.read(&mut [0; 1024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

fn send_works(cluster: &Cluster) -> Result<()> {
    cluster.cli(&["produce", "orders", "--body", "still here"]).map(|_| ())
}

#[test]
fn hostile_connections_are_closed_and_memory_stays_bounded() -> Result<()> {
    let cluster = Cluster::start()?;
    send_works(&cluster)?;
    let (address, pid) = broker(&cluster)?;
    let before = anonymous_kib(pid)?;

    let connect = || TcpStream::connect(address).context("cannot connect to the broker");
    let mut hostile = Vec::new();
    for opening in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 64],
        // a frame of 2 GiB, one whose header is longer than the frame, an unknown header encoding, a header that is no JSON
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0, 0xff, 0xff, 1, 2, 3, 4],
        &[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4],
        &[0, 0, 0, 8, 0, 0, 0, 4, b'a', b'b', b'c', b'd'],
    ] {
        let mut stream = connect()?;
        stream.write_all(opening)?;
        hostile.push(stream);
    }
    wait::until("hostile connections to be closed", LIMIT, || hostile.iter_mut().all(closed).then_some(()))?;
    send_works(&cluster)?;

    // two hundred connections that announce 15 MiB each and send a little of it: three gigabytes if the length were believed
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect()?;
        let announced: u32 = 15 << 20;
        stream.write_all(&announced.to_be_bytes())?;
        stream.write_all(&[0, 0, 0, 40])?;
        stream.write_all(&[b'{'; 4096])?;
        slow.push(stream);
    }
    // and three hundred that say nothing at all, and a hundred that are half closed
    let silent: Vec<_> = (0..300).map(|_| connect()).collect::<Result<_>>()?;
    for _ in 0..100 {
        let stream = connect()?;
        stream.shutdown(Shutdown::Write)?;
    }
    send_works(&cluster)?;
    let grown = anonymous_kib(pid)?.saturating_sub(before);
    println!("anonymous memory of the broker grew by {grown} KiB under 500 hostile connections");
    ensure!(grown < GROWTH_KIB, "the broker's memory grew by {grown} KiB");
    drop((slow, silent));

    ensure!(cluster.brokers()?.first().is_some_and(|(_, now)| *now == pid), "the broker was restarted");
    cluster.cli(&["consume", "orders", "--group", "readers", "--count", "4"])?;
    cluster.stop()
}
