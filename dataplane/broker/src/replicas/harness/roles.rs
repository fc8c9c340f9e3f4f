//! Roles that change while something is under way, and ends that wait for nobody.

use bolide_replication::{
    Epoch, Event, Hello, Incarnation, Member, Message, PROTOCOL, SendFailure, Session, Standing, codec,
};
use bolide_wire::{LogOffset, RequestCode};

use super::super::link::Out;
use super::super::owner::Input;
use super::*;
use crate::config::replica::ReplicationMode;
use crate::harness::pop::request;
use crate::role::Role;

fn pop() -> Command {
    Command::request(RequestCode::POP_MESSAGE).with_header(&request("workers", 1, 60_000, 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_waits_for_its_port_begins_although_a_switchover_fails_meanwhile() {
    let mut group = Group::new(2, |_| {}).await;
    let ready = Arc::new(ArcSwap::from_pointee(Readiness::NotReady("starting".into())));
    let shown = Shown { ready: ready.clone(), serving: watch::Sender::default() };
    let seat = &mut group.seats[0];
    let state = Arc::new(seat.state.clone());
    // It has to bind its port, which the test holds.
    let running = Running::start(seat.config.clone(), Vec::new(), state, shown, &Registry::new()).await;
    seat.running = Some(running.unwrap());
    group.until("it leads", |group| group.leader() == Some(0)).await;
    let replication = group.running(0).broker.replication.get().unwrap();
    assert!(replication.switch_over(None).await.is_err(), "there is nobody else");
    assert!(matches!(&**ready.load(), Readiness::NotReady(_)));
    group.listeners.clear();
    group.until("it serves", |_| matches!(&**ready.load(), Readiness::Ready)).await;
    group.send("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_hands_over_at_its_end_although_a_switchover_has_failed_before() {
    let group = Group::started(2, |_| {}).await;
    let running = group.running(0);
    let stranger = ReplicaName::new("a-7").unwrap();
    assert!(running.broker.replication.get().unwrap().switch_over(Some(stranger)).await.is_err());
    running.hand_over().await;
    assert_eq!(*running.switched.borrow(), Switched::To(ReplicaName::new("a-1").unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_stands_down_and_ends_although_a_pop_waits_for_a_replica_that_is_gone() {
    let mut group = Group::started(2, |config| {
        config.replication_mode = ReplicationMode::Sync;
        config.min_in_sync = 2;
    })
    .await;
    group.send_all("m", 2).await;
    assert_eq!(group.ask(pop()).await.unwrap().code, 0);
    for seat in &group.seats {
        seat.state.away.store(true, Ordering::SeqCst);
    }
    group.silent.send_replace(true);
    let (client, address) = (Client::new(ClientConfig::default()), group.address.clone());
    let answer = tokio::spawn(async move { client.call(&address, pop(), DEADLINE).await });
    group
        .until("it serves nobody", |group| group.running(0).broker.standing.load().role == Role::Waiting)
        .await;
    assert!(answer.await.unwrap().is_err(), "its outcome is not known");
    let running = group.seats[0].running.take().unwrap();
    tokio::time::timeout(DEADLINE, running.end()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_log_is_not_sent_as_that_of_an_epoch_that_is_over() {
    let group = Group::started(2, |_| {}).await;
    group.send("one").await;
    let (inputs, mut waiting) = mpsc::channel(64);
    let links = Links::new(group.running(0).broker.clone(), inputs, CancellationToken::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    links.dial(ReplicaName::new("a-1").unwrap(), listener.local_addr().unwrap().to_string());
    let _peer = listener.accept().await.unwrap();
    let Some(Input::Opened(_, _, link)) = waiting.recv().await else { unreachable!("it is dialed") };
    let led = group.epoch();
    for (epoch, wanted) in [(led + 1, false), (led, true)] {
        let (epoch, from) = (Epoch(epoch), LogOffset(0));
        link.send(Out::Log { epoch, session: Session(1), from, max_bytes: 1024, confirm: from });
        let Some(Input::Event(Event::LogSent { result, .. })) = waiting.recv().await else {
            unreachable!("it is sent or not")
        };
        match result {
            Ok(to) => assert!(wanted && to > from),
            Err(failure) => assert!(!wanted && failure == SendFailure::Failed),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_a_snapshot_cannot_be_sent_is_closed() {
    let mut group = Group::new(2, |_| {}).await;
    group.start(0).await;
    group.until("it leads", |group| group.leader() == Some(0)).await;
    let (config, folder) = (&group.seats[0].config, group.seats[0].folder.path().join("config"));
    // Where the snapshot's files go there is a file.
    std::fs::remove_dir_all(&folder).ok();
    std::fs::write(&folder, "").unwrap();
    let standing = Standing {
        member: Member::new(ReplicaName::new("a-1").unwrap(), Incarnation(7)),
        seen: None,
        leads: None,
        last_epoch: Epoch(0),
        end: LogOffset(0),
    };
    let hello = Message::Hello(Hello {
        protocol: PROTOCOL,
        cluster: config.broker_cluster_name.clone(),
        group: config.broker_name.clone(),
        segment_bytes: config.mapped_file_size_commit_log,
        standing,
        session: Session(1),
        follows: Epoch(0),
        epochs: Vec::new(),
        min: LogOffset(0),
    });
    let own = config.replicas.iter().find(|own| own.name == config.replica_name).unwrap();
    let mut stream = tokio::net::TcpStream::connect(&own.address).await.unwrap();
    for message in [hello, Message::Shell(snapshot::request())] {
        let (head, payload) = codec::encode(&message);
        stream.write_all(&head).await.unwrap();
        stream.write_all(&payload).await.unwrap();
    }
    let mut heartbeats = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut heartbeats)).await;
    assert!(ended.is_ok(), "so that it is asked for again");
    std::fs::remove_file(&folder).unwrap();
}
