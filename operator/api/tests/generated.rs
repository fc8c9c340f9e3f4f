//! The generated files are what the types say.

use std::path::PathBuf;

use bolide_api::crd;
use bolide_api::manifest::{self, Manifest};

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_definitions_in_crds_are_up_to_date() {
    for (file, definition) in crd::all() {
        let path = project().join("crds").join(file);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = crd::to_yaml(&definition).expect("a definition can be written");
        assert!(found == wanted, "crds/{file} differs from the types: run `make crds`");
    }
}

#[test]
fn every_sample_of_ours_is_valid() {
    let mut seen = 0;
    for entry in std::fs::read_dir(project().join("manifests/samples")).expect("samples") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let found = manifest::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        seen += found.iter().filter(|manifest| !matches!(manifest, Manifest::Other(_))).count();
    }
    assert!(seen >= 4, "only {seen} objects of ours in manifests/samples");
}
