//! `ctx`: installing, listing and choosing contexts. Nothing here talks to a server.

use std::path::Path;

use rsv_proto::{context::Context, identity::Identity};

use crate::{
    args::{Form, Output},
    context::{Installed, holds_none, read_contexts},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    table::{Cell, Table},
    ui::{BAD, GOOD, printable},
};

/// Installs every context of a file, or its only one under another name.
pub(super) fn import(
    invocation: &mut Invocation,
    file: &Path,
    name: Option<String>,
) -> Result<Exit, Failure> {
    let mut contexts = read_contexts(file, &mut invocation.ui)?;
    match (contexts.as_mut_slice(), name) {
        ([], _) => return Err(holds_none(file)),
        ([only], Some(name)) => only.name = name,
        (_, Some(_)) => {
            let text = format!("`{}` holds several contexts", file.display());
            return Err(Failure::usage(text).hint("--as gives a name to a single one"));
        }
        (_, None) => {}
    }
    let mut installed = Installed::read(&mut invocation.ui)?;
    for context in &contexts {
        if !invocation.global.yes {
            is_of_no_other_fleet(&installed, context)?;
        }
        installed = installed.install(context)?;
    }
    installed.write()?;
    let current = installed.current_name().unwrap_or_default().to_owned();
    if !invocation.ui.output().is_text() {
        let of = |context: &Context| json::Installed {
            name: context.name.clone(),
            current: current == context.name,
        };
        let imported = json::Imported {
            schema: "rsv/ctx-import/v1",
            file: installed.path().display().to_string(),
            contexts: contexts.iter().map(of).collect(),
        };
        json::print(&mut invocation.ui, &imported)?;
        return Ok(Exit::Done);
    }
    for context in &contexts {
        let in_use = match current == context.name {
            true => ", in use",
            false => "",
        };
        let line = format!("{}: installed{in_use}", printable(&context.name));
        invocation.ui.line(&line)?;
    }
    let path = installed.path().display().to_string();
    invocation.ui.detail(&format!("kept in {path}"));
    Ok(Exit::Done)
}

/// Refuses to put a context in the place of one of another fleet: every fleet's first is called the same,
/// and what is meant for one fleet would reach the other.
fn is_of_no_other_fleet(installed: &Installed, context: &Context) -> Result<(), Failure> {
    match installed.get(&context.name) {
        Ok(Some(former)) if !is_same_fleet(&former, context) => {
            let name = printable(&context.name).into_owned();
            let at = former.controllers.join(", ");
            let text = format!("a context `{name}` is installed, for another fleet, at {at}");
            let hint = "--as NAME installs this one beside it; --yes replaces that one";
            Err(Failure::usage(text).hint(hint))
        }
        // One that cannot be used is no loss.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The names of fleets decide: a root may be another one after a while.
fn is_same_fleet(one: &Context, other: &Context) -> bool {
    let name = |context: &Context| {
        let identity = Identity::from_leaf(context.credentials.chain.first()?);
        Some(identity.ok()?.trust_domain)
    };
    match (name(one), name(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.credentials.root == other.credentials.root,
    }
}

/// Lists the installed contexts.
pub(super) fn list(invocation: &mut Invocation) -> Result<Exit, Failure> {
    let installed = Installed::read(&mut invocation.ui)?;
    let current = installed.current_name();
    let rows: Vec<json::Context> = installed
        .entries()
        .iter()
        .map(|(name, context)| json::Context {
            name: name.clone(),
            current: current == Some(name),
            controllers: context
                .as_ref()
                .map(|context| context.controllers.clone())
                .unwrap_or_default(),
            identity: context.as_ref().ok().map(identity_words),
            error: context.as_ref().err().map(ToString::to_string),
        })
        .collect();
    match invocation.ui.output() {
        Output::Table if rows.is_empty() => invocation
            .ui
            .note("no context is installed; `rsv ctx import FILE` installs one"),
        Output::Table if invocation.ui.form() == Form::Name => {
            let names = rows.into_iter().map(|row| row.name);
            invocation.ui.names(names)?;
        }
        Output::Table => {
            let text = contexts_table(&rows).render(invocation.ui.color());
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => json::print(&mut invocation.ui, &json::Contexts::new(rows))?,
        Output::Jsonl => json::print_lines(&mut invocation.ui, &rows)?,
    }
    Ok(Exit::Done)
}

/// Puts a context into use.
pub(super) fn choose(invocation: &mut Invocation, name: &str) -> Result<Exit, Failure> {
    let installed = Installed::read(&mut invocation.ui)?;
    if !installed.entries().iter().any(|(known, _)| known == name) {
        return Err(Failure::usage(format!("no context `{name}` is installed"))
            .hint("`rsv ctx ls` lists them, `rsv ctx import FILE` installs one"));
    }
    installed.choose(name)?.write()?;
    if !invocation.ui.output().is_text() {
        let schema = "rsv/ctx-use/v1";
        json::print(&mut invocation.ui, &json::Chosen { schema, name })?;
        return Ok(Exit::Done);
    }
    invocation.ui.line(&format!("{name}: in use"))?;
    Ok(Exit::Done)
}

fn contexts_table(rows: &[json::Context]) -> Table {
    let mut table = Table::new(&["", "NAME", "CONTROLLER", "IDENTITY"]);
    for row in rows {
        let mark = if row.current { "*" } else { "" };
        let mut cells = vec![Cell::styled(mark, GOOD), Cell::new(&row.name)];
        match &row.error {
            Some(error) => cells.push(Cell::styled(error, BAD)),
            None => {
                cells.push(Cell::new(row.controllers.join(", ")));
                cells.push(Cell::new(row.identity.as_deref().unwrap_or("")));
            }
        }
        table.row(cells);
    }
    table
}

/// Who the context's certificate says its holder is.
fn identity_words(context: &Context) -> String {
    let leaf = context.credentials.chain.first();
    match leaf.map(Identity::from_leaf) {
        Some(Ok(identity)) => identity.uri(),
        Some(Err(error)) => error.to_string(),
        None => "no certificate".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_in_use_is_marked_and_a_broken_one_says_why() {
        let context = |name: &str, error: Option<&str>| json::Context {
            name: name.to_owned(),
            current: name == "admin",
            controllers: vec!["ctl1:7443".to_owned()],
            identity: Some("rsv://prod/operator/admin".to_owned()),
            error: error.map(ToOwned::to_owned),
        };
        let rows = [
            context("admin", None),
            context("old", Some("[context:old] has no `key`")),
        ];
        insta::assert_snapshot!(contexts_table(&rows).render(false), @r"
           NAME   CONTROLLER  IDENTITY
        *  admin  ctl1:7443   rsv://prod/operator/admin
           old    [context:old] has no `key`
        ");
    }
}
