//! The table of request codes in `docs/request-codes.md`, made from the dispatch tables of broker and nameserver.

use std::fmt::Write;

use bolide_wire::RequestCode;
use bolide_wire::code::absent::TO_CLIENTS;

/// What stands above the table.
const HEAD: &str = "# Request codes

Every request code of the protocol, and what Bolide does with it. Made from the dispatch tables by `make request-codes`; CI fails
when it is out of date. A code that is not served is answered with REQUEST_CODE_NOT_SUPPORTED (3) and the reason given here.

| code | name | broker | nameserver | notes |
|---:|---|---|---|---|
";

/// Prints the document.
pub(crate) fn print() -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(document().as_bytes())?)
}

fn document() -> String {
    let broker: Vec<RequestCode> = bolide_broker::served().collect();
    let nameserver: Vec<RequestCode> = bolide_nameserver::served().collect();
    let mut text = HEAD.to_owned();
    for (code, name) in RequestCode::KNOWN {
        let served = |by: &[RequestCode]| if by.contains(code) { "served" } else { "" };
        let note = match code.why_absent() {
            Some(why) => format!("not supported: {why}"),
            None if TO_CLIENTS.contains(code) => "sent by brokers to clients".to_owned(),
            None if !broker.contains(code) && !nameserver.contains(code) => "not supported".to_owned(),
            None => String::new(),
        };
        let row = format!("| {} | {name} | {} | {} | {note} |", code.0, served(&broker), served(&nameserver));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", row.replace("|  |", "| |").replace("|  |", "| |"));
    }
    text
}

#[cfg(test)]
mod tests {
    use bolide_wire::code::absent::ABSENT;

    use super::*;

    #[test]
    fn the_table_in_the_documents_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/request-codes.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == document(), "docs/request-codes.md is out of date: run `make request-codes`");
    }

    #[test]
    fn what_is_served_is_not_said_to_be_absent_and_has_a_name() {
        for code in bolide_broker::served().chain(bolide_nameserver::served()) {
            assert!(ABSENT.iter().all(|(absent, _)| *absent != code), "{code} is served");
            assert!(code.name().is_some(), "{code} has no name");
        }
    }
}
