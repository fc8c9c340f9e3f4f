//! What the replicas of broker groups would do by themselves: one leads, the others follow and get in sync, another leads when
//! that one is away or hands over.

use bolide_wire::body::replica::{PeerStatus, ReplicaStatus};
use serde_json::{Value, json};

use super::FakeApi;

fn lease(namespace: &str, group: &str) -> String {
    format!("apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{group}")
}

fn pod(namespace: &str, name: &str) -> String {
    format!("api/v1/namespaces/{namespace}/pods/{name}")
}

/// Names in a group state, without what tells two lives of a volume apart.
fn name(member: &Value) -> String {
    let text = member.as_str().unwrap_or_default();
    text.split('@').next().unwrap_or_default().to_owned()
}

fn state(api: &FakeApi, namespace: &str, group: &str) -> Option<Value> {
    let lease = api.object(&lease(namespace, group))?;
    let text = lease["metadata"]["annotations"]["bolide.dev/group-state"].as_str()?.to_owned();
    Some(serde_json::from_str(&text).expect("a group state"))
}

fn set_state(api: &FakeApi, namespace: &str, group: &str, mut state: Value) {
    state["revision"] = json!(state["revision"].as_u64().unwrap_or(0) + 1);
    let path = lease(namespace, group);
    let mut lease = api.object(&path).expect("it was read");
    lease["metadata"]["annotations"]["bolide.dev/group-state"] = json!(state.to_string());
    api.put(&path, lease);
}

/// Pods of the group that run with replicas; each knows as many as there were when it started.
fn running(api: &FakeApi, namespace: &str, group: &str) -> Vec<(String, usize)> {
    let names = (0..5).map(|ordinal| format!("{group}-{ordinal}"));
    let replicated = |name: String| {
        let found = api.object(&pod(namespace, &name))?;
        let arguments = found["spec"]["containers"][0]["args"].as_array()?.clone();
        let slaves = arguments.iter().filter(|argument| **argument == "--slave-service").count();
        arguments.iter().any(|argument| argument == "--group-lease").then_some((name, slaves + 1))
    };
    names.filter_map(replicated).collect()
}

/// Who is away does not lead any more; who is there gets in sync, if the master knows it.
pub(super) fn settle(api: &FakeApi, namespace: &str, group: &str) {
    let Some(mut state) = state(api, namespace, group) else { return };
    let running = running(api, namespace, group);
    let known = |name: &str| running.iter().find(|(running, _)| running == name).map(|(_, known)| *known);
    let members: Vec<String> = state["inSync"]
        .as_array()
        .expect("a list")
        .iter()
        .map(name)
        .filter(|name| known(name).is_some())
        .collect();
    let before = state.clone();
    let leads = Some(name(&state["master"])).filter(|name| known(name).is_some());
    let Some(master) = leads.clone().or_else(|| members.first().cloned()) else { return };
    let knows = known(&master).unwrap_or(1);
    let mut in_sync = if leads.is_none() { vec![master.clone()] } else { members };
    if leads.is_some() {
        in_sync = running.iter().map(|(name, _)| name.clone()).take(knows).collect();
    } else {
        state["epoch"] = json!(state["epoch"].as_u64().expect("a number") + 1);
        state["master"] = json!(format!("{master}@1"));
    }
    state["inSync"] = in_sync.iter().map(|name| json!(format!("{name}@1"))).collect();
    if state != before {
        set_state(api, namespace, group, state);
    }
}

/// The Service of the master follows the role.
pub(super) fn point(api: &FakeApi, namespace: &str, group: &str) {
    let master = match state(api, namespace, group) {
        Some(state) if state["master"].is_null() => return,
        Some(state) => name(&state["master"]),
        None => format!("{group}-0"),
    };
    let path = format!("api/v1/namespaces/{namespace}/services/{group}-master");
    if let Some(mut service) = api.object(&path) {
        service["spec"]["selector"] = json!({ "statefulset.kubernetes.io/pod-name": master });
        api.put(&path, service);
    }
}

impl FakeApi {
    /// Namespace and name of the group whose master is reached at `addr`.
    fn group_at(&self, addr: &str) -> Option<(String, String)> {
        let ip = addr.split(':').next()?;
        let objects = self.objects.lock();
        let (path, _) = objects.iter().find(|(path, object)| {
            path.ends_with("-master") && object["spec"]["clusterIP"].as_str() == Some(ip)
        })?;
        let mut parts = path.rsplit('/');
        let group = parts.next()?.strip_suffix("-master")?.to_owned();
        Some((parts.nth(1)?.to_owned(), group))
    }

    /// What the master at that address says of its replicas.
    pub(crate) fn replica_status(&self, addr: &str) -> Option<ReplicaStatus> {
        let (namespace, group) = self.group_at(addr)?;
        let state = state(self, &namespace, &group)?;
        let master = name(&state["master"]);
        let running = running(self, &namespace, &group);
        let (_, knows) = running.iter().find(|(name, _)| *name == master)?;
        let in_sync: Vec<String> = state["inSync"].as_array()?.iter().map(name).collect();
        let others = (0..*knows).map(|ordinal| format!("{group}-{ordinal}")).filter(|name| *name != master);
        let peer = |name: String| {
            let is_in_sync = in_sync.contains(&name);
            let lag_bytes = Some(if is_in_sync { 100 } else { 1000 });
            PeerStatus { in_sync: is_in_sync, lag_bytes, name, ..PeerStatus::default() }
        };
        Some(ReplicaStatus {
            replicas: others.map(peer).collect(),
            in_sync: in_sync.clone(),
            replica_name: master,
            ..ReplicaStatus::default()
        })
    }

    /// The master at that address hands over; false when it cannot.
    pub(crate) fn hand_over(&self, addr: &str, to: &str) -> bool {
        let Some((namespace, group)) = self.group_at(addr) else { return false };
        let Some(mut state) = state(self, &namespace, &group) else { return false };
        if !state["inSync"].as_array().is_some_and(|members| members.iter().any(|member| name(member) == to))
        {
            return false;
        }
        state["epoch"] = json!(state["epoch"].as_u64().unwrap_or(0) + 1);
        state["master"] = json!(format!("{to}@1"));
        set_state(self, &namespace, &group, state);
        point(self, &namespace, &group);
        true
    }
}
