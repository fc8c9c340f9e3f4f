//! Writes the custom resource definitions into the folder given as the only argument.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: crd FOLDER")?);
    for (file, definition) in bolide_api::crd::all() {
        std::fs::write(folder.join(file), bolide_api::crd::to_yaml(&definition)?)?;
    }
    Ok(())
}
