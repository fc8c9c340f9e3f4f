//! A server that decodes every send as a broker would and answers at once: what the transport and the codec cost by themselves.
//! `cargo run --release -p bolide-transport --example answer -- 127.0.0.1:30041`, then `bolide-bench load --addr 127.0.0.1:30041`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bolide_transport::{Conn, Handler, Server, ServerConfig, TransportMetrics};
use bolide_wire::header::send::{SendMessageResponse, SendMessageV2};
use bolide_wire::{Command, ResponseCode};
use tokio_util::sync::CancellationToken;

struct Answer;

impl Handler for Answer {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        conn.reply_many(requests.iter().map(|request| answer(request).into()));
    }
}

fn answer(request: &Command) -> Command {
    match SendMessageV2::decode(&request.ext) {
        Ok(send) => request.response(ResponseCode::SUCCESS).with_header(&SendMessageResponse {
            msg_id: "7F00000100002A9F0000000012345678".into(),
            queue_id: send.queue_id,
            queue_offset: 12_345_678,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: Some("DefaultRegion".into()),
            trace_on: Some(true),
        }),
        Err(error) => request.response(ResponseCode::SYSTEM_ERROR).with_remark(error.to_string()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr: SocketAddr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30041".to_owned()).parse()?;
    let shutdown = CancellationToken::new();
    let server = Server::bind(
        addr,
        ServerConfig::default(),
        Arc::new(Answer),
        TransportMetrics::unregistered(),
        shutdown.clone(),
    )?;
    println!("answering on {}", server.local_addr());
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    server.stopped().await;
    Ok(())
}
