//! Owns the dispatch of requests: one line of [`TABLE`] per request code.
//!
//! A handler parses, does, and returns a reply; it holds no socket. All sends of one read are gathered and appended
//! together, whatever stands between them; so are all ends of transactions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bolide_transport::{Conn, Handler};
use bolide_wire::{Command, RequestCode};

use crate::broker::Broker;
use crate::error::Failure;
use crate::front::Front;
use crate::reply::{self, Reply};

pub(crate) mod admin_group;
pub(crate) mod admin_topic;
pub(crate) mod assignment;
pub(crate) mod client;
pub(crate) mod connections;
pub(crate) mod maintenance;
pub(crate) mod offset;
pub(crate) mod pop;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod replica;
pub(crate) mod request_reply;
pub(crate) mod reset;
pub(crate) mod runtime;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod settings;
pub(crate) mod slave;
pub(crate) mod stats;
pub(crate) mod transaction;

use send::Sends;
use transaction::Ends;

/// One request with everything that a handler needs.
#[derive(Clone)]
pub(crate) struct Call {
    /// The broker.
    pub(crate) broker: Arc<Broker>,
    /// Connection that the request came on.
    pub(crate) conn: Conn,
    /// The request.
    pub(crate) command: Command,
}

type Later = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// How a request is carried out.
enum Route {
    /// Joins the append of the read.
    Send,
    /// The end of a transaction: joins the append of the read's other ends.
    End,
    /// Answers itself, perhaps much later.
    Own(fn(Call)),
    /// Answered before the next request is looked at.
    Now(fn(&Call) -> Result<Reply, Failure>),
    /// Answered when its work is done.
    Later(fn(Call) -> Later),
}

/// Requests of one read that are carried out with one append.
enum Together {
    Send,
    End,
}

struct Line {
    code: RequestCode,
    route: Route,
}

const fn send(code: RequestCode) -> Line {
    Line { code, route: Route::Send }
}

const fn own(code: RequestCode, handle: fn(Call)) -> Line {
    Line { code, route: Route::Own(handle) }
}

const fn now(code: RequestCode, handle: fn(&Call) -> Result<Reply, Failure>) -> Line {
    Line { code, route: Route::Now(handle) }
}

const fn later(code: RequestCode, handle: fn(Call) -> Later) -> Line {
    Line { code, route: Route::Later(handle) }
}

/// Every code that the broker knows, in order of number. Any other is answered with "not supported".
const TABLE: &[Line] = &[
    send(RequestCode::SEND_MESSAGE),
    own(RequestCode::PULL_MESSAGE, pull::handle),
    later(RequestCode::QUERY_MESSAGE, |call| Box::pin(query::by_key(call))),
    now(RequestCode::QUERY_CONSUMER_OFFSET, offset::query),
    now(RequestCode::UPDATE_CONSUMER_OFFSET, offset::update),
    later(RequestCode::UPDATE_AND_CREATE_TOPIC, |call| Box::pin(admin_topic::put(call))),
    later(RequestCode::UPDATE_AND_CREATE_TOPIC_LIST, |call| Box::pin(admin_topic::put_list(call))),
    now(RequestCode::GET_ALL_TOPIC_CONFIG, admin_topic::all),
    later(RequestCode::UPDATE_BROKER_CONFIG, |call| Box::pin(settings::update(call))),
    now(RequestCode::GET_BROKER_CONFIG, settings::show),
    later(RequestCode::GET_BROKER_RUNTIME_INFO, |call| Box::pin(runtime::info(call))),
    later(RequestCode::SEARCH_OFFSET_BY_TIMESTAMP, |call| Box::pin(offset::by_time(call))),
    now(RequestCode::GET_MAX_OFFSET, offset::max),
    now(RequestCode::GET_MIN_OFFSET, offset::min),
    later(RequestCode::GET_EARLIEST_MSG_STORETIME, |call| Box::pin(offset::earliest(call))),
    later(RequestCode::VIEW_MESSAGE_BY_ID, |call| Box::pin(query::by_offset(call))),
    own(RequestCode::HEART_BEAT, client::heartbeat),
    now(RequestCode::UNREGISTER_CLIENT, client::unregister),
    later(RequestCode::CONSUMER_SEND_MSG_BACK, |call| Box::pin(send_back::send_back(call))),
    Line { code: RequestCode::END_TRANSACTION, route: Route::End },
    now(RequestCode::GET_CONSUMER_LIST_BY_GROUP, client::members),
    later(RequestCode::LOCK_BATCH_MQ, |call| Box::pin(client::lock(call))),
    later(RequestCode::UNLOCK_BATCH_MQ, |call| Box::pin(client::unlock(call))),
    now(RequestCode::GET_ALL_CONSUMER_OFFSET, admin_group::offsets),
    now(RequestCode::GET_ALL_DELAY_OFFSET, stats::delay_offsets),
    now(RequestCode::CHECK_CLIENT_CONFIG, client::check_config),
    later(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, |call| Box::pin(admin_group::put(call))),
    now(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, admin_group::all),
    later(RequestCode::GET_TOPIC_STATS_INFO, |call| Box::pin(stats::topic(call))),
    now(RequestCode::GET_CONSUMER_CONNECTION_LIST, connections::consumers),
    now(RequestCode::GET_PRODUCER_CONNECTION_LIST, connections::producers),
    later(RequestCode::DELETE_SUBSCRIPTIONGROUP, |call| Box::pin(admin_group::delete(call))),
    later(RequestCode::GET_CONSUME_STATS, |call| Box::pin(stats::consume(call))),
    later(RequestCode::DELETE_TOPIC_IN_BROKER, |call| Box::pin(admin_topic::delete(call))),
    later(RequestCode::INVOKE_BROKER_TO_RESET_OFFSET, |call| Box::pin(reset::reset(call))),
    later(RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, |call| Box::pin(reset::status(call))),
    later(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, |call| {
        Box::pin(admin_group::put_list(call))
    }),
    now(RequestCode::QUERY_TOPIC_CONSUME_BY_WHO, connections::groups_of_topic),
    later(RequestCode::QUERY_CONSUME_TIME_SPAN, |call| Box::pin(stats::time_span(call))),
    now(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, admin_topic::system_topics),
    now(RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE, maintenance::clean),
    later(RequestCode::GET_CONSUMER_RUNNING_INFO, |call| Box::pin(connections::running_info(call))),
    now(RequestCode::QUERY_CORRECTION_OFFSET, stats::correction),
    later(RequestCode::CONSUME_MESSAGE_DIRECTLY, |call| Box::pin(connections::consume_directly(call))),
    send(RequestCode::SEND_MESSAGE_V2),
    now(RequestCode::CLONE_GROUP_OFFSET, reset::clone_offsets),
    now(RequestCode::VIEW_BROKER_STATS_DATA, stats::by_name),
    later(RequestCode::CLEAN_UNUSED_TOPIC, |call| Box::pin(maintenance::clean_unused_topics(call))),
    later(RequestCode::GET_BROKER_CONSUME_STATS, |call| Box::pin(stats::consume_of_broker(call))),
    send(RequestCode::SEND_BATCH_MESSAGE),
    later(RequestCode::QUERY_CONSUME_QUEUE, |call| Box::pin(stats::consume_queue(call))),
    later(RequestCode::RESUME_CHECK_HALF_MESSAGE, |call| Box::pin(transaction::resume(call))),
    later(RequestCode::SEND_REPLY_MESSAGE, |call| Box::pin(request_reply::push(call))),
    later(RequestCode::SEND_REPLY_MESSAGE_V2, |call| Box::pin(request_reply::push(call))),
    now(RequestCode::GET_ALL_PRODUCER_INFO, connections::all_producers),
    now(RequestCode::DELETE_EXPIRED_COMMITLOG, maintenance::clean),
    now(RequestCode::QUERY_TOPICS_BY_CONSUMER, connections::topics_of_group),
    now(RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER, connections::subscription),
    now(RequestCode::GET_TOPIC_CONFIG, admin_topic::one),
    now(RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG, admin_group::one),
    later(RequestCode::UPDATE_AND_GET_GROUP_FORBIDDEN, |call| Box::pin(admin_group::forbid(call))),
    own(RequestCode::LITE_PULL_MESSAGE, pull::handle),
    later(RequestCode::RECALL_MESSAGE, |call| Box::pin(recall::recall(call))),
    later(RequestCode::QUERY_ASSIGNMENT, |call| Box::pin(assignment::query(call))),
    later(RequestCode::SET_MESSAGE_REQUEST_MODE, |call| Box::pin(assignment::set_mode(call))),
    now(RequestCode::GET_ALL_MESSAGE_REQUEST_MODE, assignment::modes),
    now(RequestCode::BOLIDE_REPLICA_STATUS, replica::status),
    later(RequestCode::BOLIDE_SWITCHOVER, |call| Box::pin(replica::switch_over(call))),
    own(RequestCode::POP_MESSAGE, pop::pop),
    own(RequestCode::ACK_MESSAGE, pop::ack::ack),
    later(RequestCode::PEEK_MESSAGE, |call| Box::pin(pop::peek::peek(call))),
    own(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, pop::invisible::change),
    own(RequestCode::NOTIFICATION, pop::notification),
    now(RequestCode::POLLING_INFO, pop::polling_info),
    own(RequestCode::BATCH_ACK_MESSAGE, pop::ack::batch),
];

fn line(code: RequestCode) -> Option<&'static Route> {
    match code {
        RequestCode::SEND_MESSAGE_V2 => Some(&Route::Send),
        _ => TABLE
            .binary_search_by_key(&code, |line| line.code)
            .ok()
            .and_then(|at| TABLE.get(at))
            .map(|line| &line.route),
    }
}

/// Codes that the dispatch table has, in order of number.
pub fn served() -> impl Iterator<Item = RequestCode> {
    TABLE.iter().map(|line| line.code)
}

/// Receives the requests of a port.
#[derive(Clone)]
pub(crate) struct Requests {
    /// The broker.
    pub(crate) broker: Arc<Broker>,
    /// The second port serves everything but pulls.
    pub(crate) pulls: bool,
    /// Where the port belongs.
    front: Arc<Front>,
}

impl Requests {
    pub(crate) fn new(broker: Arc<Broker>, front: Arc<Front>, pulls: bool) -> Requests {
        Requests { broker, pulls, front }
    }

    /// Carries out the requests of one read, whatever the role is.
    pub(crate) fn serve(&self, conn: &Conn, commands: Vec<Command>) {
        let mut sends: Option<Sends<'_>> = None;
        let mut ends: Option<Ends<'_>> = None;
        for command in commands {
            match self.one(conn, command) {
                None => {}
                Some((Together::Send, command)) => {
                    sends.get_or_insert_with(|| Sends::new(&self.broker, conn)).add(command);
                }
                Some((Together::End, command)) => {
                    ends.get_or_insert_with(|| Ends::new(&self.broker, conn)).add(command);
                }
            }
        }
        if let Some(sends) = sends {
            sends.finish();
        }
        if let Some(ends) = ends {
            ends.finish();
        }
    }

    /// Answers a request whose work took its time, unless the role has gone to another replica meanwhile, which then gets it.
    fn finish(&self, conn: &Conn, command: Command, outcome: Result<Reply, Failure>) {
        let command = match &outcome {
            Err(failure) if failure.is_not_master() => {
                let Some(command) = self.front.retake(self, conn, command) else { return };
                command
            }
            _ => command,
        };
        if !command.is_oneway() {
            conn.reply(reply::answer(&command, outcome));
        }
    }

    /// Carries out one request; what is done together with others of its read is handed back.
    fn one(&self, conn: &Conn, command: Command) -> Option<(Together, Command)> {
        let code = command.request_code().widened();
        let call = || Call { broker: self.broker.clone(), conn: conn.clone(), command: command.clone() };
        let answer = |outcome| {
            if !command.is_oneway() {
                conn.reply(reply::answer(&command, outcome));
            }
        };
        match line(code) {
            Some(Route::Send) => return Some((Together::Send, command)),
            Some(Route::End) => return Some((Together::End, command)),
            Some(Route::Own(_)) if !self.pulls && is_pull(code) => answer(Err(Failure::UnknownCode(code.0))),
            // Nobody could be told what was found, and it might be held for long.
            Some(Route::Own(_)) if command.is_oneway() && asks_for_messages(code) => {}
            Some(Route::Own(handle)) => handle(call()),
            Some(Route::Now(handle)) => answer(handle(&call())),
            Some(Route::Later(handle)) => {
                let (call, conn, requests) = (call(), conn.clone(), self.clone());
                let unfinished = conn.unfinished(&command);
                conn.clone().spawn(async move {
                    let _unfinished = unfinished;
                    let command = call.command.clone();
                    let outcome = handle(call).await;
                    requests.finish(&conn, command, outcome);
                });
            }
            None => answer(Err(Failure::UnknownCode(code.0))),
        }
        None
    }
}

fn is_pull(code: RequestCode) -> bool {
    matches!(code, RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE)
}

fn asks_for_messages(code: RequestCode) -> bool {
    is_pull(code) || matches!(code, RequestCode::POP_MESSAGE | RequestCode::NOTIFICATION)
}

impl Handler for Requests {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        self.front.take(self, conn, requests);
    }

    fn closed(&self, conn: &Conn) {
        let groups = self.broker.clients.write().disconnect(conn.id().0);
        self.broker.notify_groups(&groups);
        self.front.closed(conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_it_can_be_searched() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        assert!(line(RequestCode(9_999)).is_none());
        assert!(matches!(line(RequestCode::SEND_BATCH_MESSAGE), Some(Route::Send)));
    }
}
