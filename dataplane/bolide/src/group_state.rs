//! `bolide group-state`: looks at what decides who leads a broker group, and overrules it when nothing else helps.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bolide_broker::{FileGroupState, GroupStateStore};
use bolide_election::GroupLease;
use bolide_replication::{CasOutcome, GroupState, REPLICA_FILE, ReplicaFile, ReplicaName, Seen, Versioned};
use clap::Subcommand;

use crate::args::Print;
use crate::failure::usage;
use crate::output::{self, Table};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupStateCommand {
    /// Show who leads a broker group, and which replicas hold every acknowledged message
    Show(ShowArgs),
    /// Make a replica the master whatever the others have: MESSAGES THAT ONLY THE OTHERS HOLD ARE LOST
    #[command(
        after_help = "When to use it: the replicas that are in sync are gone for good, or the group state itself is.
The replica named leads from its next look at the group state on, with exactly the messages that it has. The other replicas drop what
it does not have, and follow it."
    )]
    Force(ForceArgs),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Name of the broker group, such as demo-broker-0
    group: String,
    /// Data folder of `bolide up`
    #[arg(long, value_name = "DIR", default_value = "bolide-data", conflicts_with = "namespace")]
    data: PathBuf,
    /// In Kubernetes: namespace of the group's Lease, which has the group's name
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForceArgs {
    /// Name or number of the replica that shall lead
    replica: String,
    #[command(flatten)]
    place: Place,
    /// Said by a person who knows what is lost
    #[arg(long)]
    accept_loss: bool,
    /// In Kubernetes, when the Lease is gone: an epoch higher than any that a replica has seen (see their metric
    /// bolide_broker_epoch)
    #[arg(long, value_name = "EPOCH", requires = "namespace")]
    above_epoch: Option<u64>,
}

pub(crate) async fn run(command: GroupStateCommand) -> anyhow::Result<()> {
    match command {
        GroupStateCommand::Show(args) => show(args).await,
        GroupStateCommand::Force(args) => force(args).await,
    }
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let store = args.place.open().await?;
    let found = store.load().await?.with_context(|| format!("{} has no group state", args.place.group))?;
    Ok(output::print(args.print.output, &found.state, table)?)
}

fn table(state: &GroupState) -> String {
    let mut table = Table::new(&["EPOCH", "REPLICA", "ROLE", "IN SYNC"]);
    for member in &state.in_sync {
        let role = match (&state.master, &state.successor) {
            (Some(master), _) if master == member => "master",
            (_, Some(next)) if next == member => "successor",
            _ => "slave",
        };
        table.row([state.epoch.to_string(), member.name.to_string(), role.to_owned(), "yes".to_owned()]);
    }
    table.render()
}

async fn force(args: ForceArgs) -> anyhow::Result<()> {
    let name = match args.replica.parse::<u32>() {
        Ok(number) => format!("{}-{number}", args.place.group),
        Err(_) => args.replica.clone(),
    };
    let name = ReplicaName::new(&name).map_err(|error| usage(error.to_string()))?;
    let store = args.place.open().await?;
    let found = store.load().await?;
    let mut above = found.as_ref().map(|found| found.state.seen()).unwrap_or_default();
    above = above.max(args.place.seen_by_replicas(&name)?);
    if let Some(epoch) = args.above_epoch {
        above = above.max(Seen { epoch: bolide_replication::Epoch(epoch), ..Seen::default() });
    }
    if let Some(found) = &found {
        eprintln!("as it is:\n{}", table(&found.state));
        if found.state.member(&name).is_none() {
            eprintln!("{name} is NOT in sync: messages that were acknowledged may be missing there");
        }
    } else {
        eprintln!("{} has no group state", args.place.group);
    }
    if !args.accept_loss {
        return Err(usage(format!(
            "messages that {name} does not have will be lost; say --accept-loss to make it the master"
        )));
    }
    let forced = GroupState::forced(name.clone(), above);
    match store.set(found.as_ref(), &forced).await? {
        CasOutcome::Set { .. } => {
            println!("{name} may lead {} from epoch {} on", args.place.group, forced.epoch.next());
            Ok(())
        }
        CasOutcome::Conflict => bail!("the group state has just changed; look at it, and decide again"),
        CasOutcome::Unknown => bail!("it is not known whether the group state was set; look at it"),
    }
}

/// Where the state is.
enum Store {
    File(FileGroupState),
    Lease(Box<GroupLease>),
}

impl Place {
    async fn open(&self) -> anyhow::Result<Store> {
        match &self.namespace {
            Some(namespace) => Ok(Store::Lease(Box::new(GroupLease::connect(namespace, &self.group).await?))),
            None => {
                let path = self.data.join("state").join(format!("{}.json", self.group));
                let folder = path.parent().filter(|folder| folder.is_dir());
                folder.with_context(|| format!("{} is no data folder of replicas", self.data.display()))?;
                Ok(Store::File(FileGroupState::new(path)))
            }
        }
    }

    /// The highest state that any replica in the data folder has seen.
    fn seen_by_replicas(&self, any: &ReplicaName) -> anyhow::Result<Seen> {
        let mut highest = Seen::default();
        if self.namespace.is_some() {
            return Ok(highest);
        }
        let stores = self.data.join("data");
        let entries =
            std::fs::read_dir(&stores).with_context(|| format!("cannot read {}", stores.display()))?;
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.group)) {
                continue;
            }
            let file = entry.path().join(REPLICA_FILE);
            // a replica that never was part of the group has none
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            let read = ReplicaFile::from_json(&text).and_then(|read| read.identity(any.clone()));
            let identity = read.with_context(|| format!("cannot read {}", file.display()))?;
            highest = highest.max(identity.seen.unwrap_or_default());
        }
        Ok(highest)
    }
}

impl Store {
    async fn load(&self) -> anyhow::Result<Option<Versioned>> {
        match self {
            Self::File(file) => Ok(file.load().await?),
            Self::Lease(lease) => Ok(lease.load().await?),
        }
    }

    async fn set(&self, found: Option<&Versioned>, new: &GroupState) -> anyhow::Result<CasOutcome> {
        Ok(match (self, found) {
            (Self::File(file), Some(found)) => file.compare_and_set(&found.version, new).await,
            (Self::File(file), None) if file.create(new)? => CasOutcome::Set { version: String::new() },
            (Self::File(_), None) => CasOutcome::Conflict,
            (Self::Lease(lease), Some(found)) => lease.compare_and_set(&found.version, new).await,
            (Self::Lease(lease), None) => lease.create(new).await?,
        })
    }
}
