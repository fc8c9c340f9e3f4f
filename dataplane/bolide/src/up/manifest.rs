//! What the user wants: the one BrokerSet of a file or folder, and its topics and groups. Pure but for reading the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bolide_api::manifest::{Manifest, ManifestError};
use bolide_api::{BrokerSet, ConsumerGroup, Topic};

/// A cluster as its manifests describe it; every object has passed the checks of its kind and belongs to `set`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) set: BrokerSet,
    pub(crate) topics: Vec<Topic>,
    pub(crate) groups: Vec<ConsumerGroup>,
}

/// Why manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WantedError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} has no YAML files (*.yaml, *.yml)")]
    EmptyFolder { path: String },
    #[error("{path}: {}", crate::yaml::first_line(source))]
    Manifest { path: String, source: ManifestError },
    #[error("no BrokerSet in {path}: add one, or name the file that has it")]
    NoSet { path: String },
    #[error(
        "BrokerSet {first} and BrokerSet {second} both stand in {path}; `bolide up` runs one: remove the other"
    )]
    TwoSets { path: String, first: String, second: String },
    #[error("{kind} {name}: spec.clusterRef.name: there is no BrokerSet {cluster} here, only {set}")]
    OtherCluster { kind: &'static str, name: String, cluster: String, set: String },
    #[error("{kind} {name} is described twice; remove one of them")]
    Twice { kind: &'static str, name: String },
    #[error("Topic {name}: spec.groups: there is no broker group {group}, the last one is {last}")]
    NoSuchGroup { name: String, group: u32, last: u32 },
}

/// The manifest files that `path` stands for: itself, or the YAML files of the folder in order of name.
///
/// # Errors
/// The folder cannot be read, or holds no YAML file.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, WantedError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |source| WantedError::Read { path: path.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(WantedError::EmptyFolder { path: path.display().to_string() })
    } else {
        Ok(files)
    }
}

/// Reads and checks all manifests of a file or folder.
///
/// # Errors
/// The first thing that is wrong, in one line.
pub(crate) fn load(path: &Path) -> Result<Wanted, WantedError> {
    let mut manifests = Vec::new();
    for file in files(path)? {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(&file)
            .map_err(|source| WantedError::Read { path: shown.clone(), source })?;
        let found = bolide_api::manifest::read(&text)
            .map_err(|source| WantedError::Manifest { path: shown, source })?;
        manifests.extend(found);
    }
    gather(&path.display().to_string(), manifests)
}

fn gather(path: &str, manifests: Vec<Manifest>) -> Result<Wanted, WantedError> {
    let mut set: Option<BrokerSet> = None;
    let (mut topics, mut groups) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match manifest {
            Manifest::BrokerSet(found) => {
                if let Some(first) = &set {
                    return Err(WantedError::TwoSets {
                        path: path.to_owned(),
                        first: first.cluster_name().to_owned(),
                        second: found.cluster_name().to_owned(),
                    });
                }
                set = Some(*found);
            }
            Manifest::Topic(topic) => topics.push(*topic),
            Manifest::ConsumerGroup(group) => groups.push(*group),
            Manifest::Other(_) => {}
        }
    }
    let set = set.ok_or_else(|| WantedError::NoSet { path: path.to_owned() })?;
    belong(
        &set,
        "Topic",
        topics.iter().map(|topic| (topic.topic_name(), topic.spec.cluster_ref.name.as_str())),
    )?;
    belong(
        &set,
        "ConsumerGroup",
        groups.iter().map(|group| (group.group_name(), group.spec.cluster_ref.name.as_str())),
    )?;
    for topic in &topics {
        let wrong = topic.spec.groups.iter().flatten().find(|group| **group >= set.spec.groups);
        if let Some(group) = wrong {
            return Err(WantedError::NoSuchGroup {
                name: topic.topic_name().to_owned(),
                group: *group,
                last: set.spec.groups.saturating_sub(1),
            });
        }
    }
    Ok(Wanted { set, topics, groups })
}

/// Every object refers to the set, and no name is used twice.
fn belong<'a>(
    set: &BrokerSet,
    kind: &'static str,
    objects: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), WantedError> {
    let mut seen = BTreeSet::new();
    for (name, cluster) in objects {
        if cluster != set.cluster_name() {
            return Err(WantedError::OtherCluster {
                kind,
                name: name.to_owned(),
                cluster: cluster.to_owned(),
                set: set.cluster_name().to_owned(),
            });
        }
        if !seen.insert(name) {
            return Err(WantedError::Twice { kind, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "apiVersion: bolide.dev/v1alpha1\nkind: BrokerSet\nmetadata: {name: demo}\nspec: {groups: 1, replicas: 1, nameservers: {replicas: 1}}\n";

    fn topic(name: &str, cluster: &str, rest: &str) -> String {
        format!(
            "---\napiVersion: bolide.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: {cluster}}}{rest}}}\n"
        )
    }

    fn read(text: &str) -> Result<Wanted, WantedError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cluster.yaml");
        std::fs::write(&file, text).unwrap();
        load(&file)
    }

    #[test]
    fn a_set_and_its_topics_are_found() {
        let wanted = read(&format!("{SET}{}{}", topic("a", "demo", ""), topic("b", "demo", ""))).unwrap();
        assert_eq!(wanted.set.cluster_name(), "demo");
        assert_eq!(wanted.topics.iter().map(Topic::topic_name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_folder_is_the_sum_of_its_yaml_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("2.yml"), topic("a", "demo", "")).unwrap();
        std::fs::write(dir.path().join("1.yaml"), SET).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "not: [yaml").unwrap();
        assert_eq!(load(dir.path()).unwrap().topics.len(), 1);
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(load(empty.path()), Err(WantedError::EmptyFolder { .. })));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_in_one_line() {
        let cases = [
            (topic("a", "demo", ""), "no BrokerSet"),
            (format!("{SET}---\n{}", SET.replace("demo", "other")), "demo and BrokerSet other"),
            (format!("{SET}{}", topic("a", "elsewhere", "")), "no BrokerSet elsewhere"),
            (format!("{SET}{}{}", topic("a", "demo", ""), topic("a", "demo", "")), "described twice"),
            (format!("{SET}{}", topic("a", "demo", ", groups: [3]")), "no broker group 3"),
            (SET.replace("groups", "gruops"), "gruops"),
            ("a: [1".to_owned(), "line"),
        ];
        for (text, expected) in cases {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
