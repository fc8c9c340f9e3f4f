//! Owns what a running broker does: tasks that do not depend on its role, and one term in a role at a time.
//!
//! A term begins with what only its role may do, then the listeners, then the nameservers hear of it; it ends the other way
//! round. Nothing of a term outlives it, except connections that an old master hands on.

use std::sync::Arc;
use std::time::Duration;

use bolide_telemetry::register_build_info;
use bolide_transport::TransportMetrics;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::duties::Duties;
use crate::front::{Front, FrontError, Listeners};
use crate::handler::pop;
use crate::handler::pull::wake;
use crate::housekeeping;
use crate::registration::{Registered, Registration};
use crate::role::Standing;
use crate::run::RunError;

/// How long the end of the process waits until it is decided what becomes of what was appended for clients.
const DECIDED_WITHIN: Duration = Duration::from_secs(2);

/// Begins the tasks that every running broker has; they end with it.
pub(crate) fn begin_tasks(broker: &Arc<Broker>) {
    let tasks = &broker.tasks;
    tasks.spawn(wake::serve_arrivals(broker.clone()));
    tasks.spawn(wake::serve_deadlines(broker.clone()));
    tasks.spawn(pop::wait::serve_deadlines(broker.clone()));
    tasks.spawn(housekeeping::scan_clients(broker.clone()));
    tasks.spawn(housekeeping::sample_counters(broker.clone()));
    tasks.spawn(housekeeping::save_snapshots(broker.clone()));
}

/// One term in a role.
pub(crate) struct Term {
    /// Where clients are served.
    pub(crate) front: Arc<Front>,
    duties: Option<Duties>,
    registered: Option<Registered>,
}

impl Term {
    /// Begins a term as master or slave.
    pub(crate) async fn begin(
        broker: &Arc<Broker>,
        listeners: &Listeners,
        standing: Standing,
    ) -> Result<Term, FrontError> {
        broker.standing.store(Arc::new(standing));
        let front = Front::open(broker, listeners, standing).await?;
        // Nothing below waits: a term that is given up before leaves nothing behind.
        let duties = standing.leads().then(|| Duties::begin(broker));
        let place = broker.live.load().config.place(standing, broker.store_host);
        let registered = place.map(|place| Registration::begin(broker, place));
        Ok(Term { front, duties, registered })
    }

    /// Begins the duties again that [`Term::end_duties`] has ended, or was given up while it ended them. May be given up too.
    pub(crate) async fn renew_duties(&mut self, broker: &Arc<Broker>) {
        self.end_duties().await;
        self.duties = Some(Duties::begin(broker));
    }

    /// Adds the work of a slave, which ends with the term.
    pub(crate) fn add<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        broker: &Arc<Broker>,
        work: impl FnOnce(CancellationToken) -> F,
    ) {
        self.duties.get_or_insert_with(|| Duties::none(broker)).spawn(work);
    }

    /// Ends what appends by itself; everything it has appended is in the store's hands then. Waits for what clients are to be told,
    /// which may take for ever where a replica is missing; who gives up may wait again.
    pub(crate) async fn end_duties(&mut self) {
        if let Some(duties) = &self.duties {
            duties.end().await;
        }
        self.duties = None;
    }

    /// As `end_duties`, in bounded time: nobody can be told any more what becomes of what was appended.
    async fn abandon_duties(&mut self) {
        if let Some(duties) = &self.duties {
            duties.abandon();
        }
        self.end_duties().await;
    }

    /// Ends the term because the role is lost: every connection is cut, and nameservers are not told, since another may have
    /// taken the place already.
    pub(crate) async fn cut(mut self) {
        self.front.cut();
        if let Some(registered) = self.registered.take() {
            registered.end(false).await;
        }
        self.abandon_duties().await;
        self.front.end().await;
    }

    /// Ends the term because its role was handed over: the front stays, to hand on what comes to it.
    pub(crate) async fn leave(mut self) -> Arc<Front> {
        self.end_duties().await;
        if let Some(registered) = self.registered.take() {
            registered.end(false).await;
        }
        self.front
    }

    /// Ends the term with the process: goodbye to the nameservers, then what was asked is answered.
    pub(crate) async fn finish(mut self, broker: &Arc<Broker>) {
        broker.shutdown.cancel();
        if tokio::time::timeout(DECIDED_WITHIN, self.end_duties()).await.is_err() {
            self.abandon_duties().await;
        }
        if let Some(registered) = self.registered.take() {
            registered.end(true).await;
        }
        broker.tasks.close();
        broker.tasks.wait().await;
        wake::answer_all(broker);
        self.front.end().await;
    }
}

/// A broker without replicas at work: one term that lasts as long as it does.
pub(crate) struct Serving {
    term: Term,
}

impl Serving {
    pub(crate) async fn begin(broker: &Arc<Broker>, registry: &Registry) -> Result<Serving, RunError> {
        register_build_info(registry, "broker")?;
        let listeners = Listeners::new(Vec::new(), TransportMetrics::register(registry, "broker")?);
        begin_tasks(broker);
        let term = Term::begin(broker, &listeners, Standing::ALONE).await?;
        Ok(Serving { term })
    }

    /// The address of the main listener.
    #[cfg(test)]
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.term.front.address()
    }

    /// Says goodbye, then answers what was asked, then ends.
    pub(crate) async fn end(self, broker: &Arc<Broker>) {
        self.term.finish(broker).await;
    }
}
