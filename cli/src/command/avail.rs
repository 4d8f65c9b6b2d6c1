//! `avail`: every process of the configuration that was read last, and whether it is in use.

use rsv_proto::{process::display_name, wire::AvailableProcess};

use super::{here, look};
use crate::{
    args::Output,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::printable,
};

/// Lists them.
pub(super) async fn run(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    if let Scope::Fleet(hosts) = invocation.scope()?
        && words.is_empty()
    {
        return look::available(invocation, hosts).await;
    }
    let server = here::agent(invocation, "avail").await?;
    let about = "lists every configured process";
    if let Some(exit) = here::no_arguments(invocation, "avail", about, words)? {
        return Ok(exit);
    }
    let processes = server.available().await?;
    match invocation.ui.output() {
        Output::Table => {
            for process in &processes {
                invocation.ui.line(&line(process))?;
            }
        }
        Output::Json => {
            let object = json::Available {
                schema: "rsv/avail/v1",
                programs: processes.iter().map(|p| object(None, p)).collect(),
            };
            json::print(&mut invocation.ui, &object)?;
        }
        Output::Jsonl => {
            let objects: Vec<_> = processes.iter().map(|p| object(None, p)).collect();
            json::print_lines(&mut invocation.ui, &objects)?;
        }
    }
    Ok(Exit::Done)
}

/// One process in supervisorctl's columns.
pub(super) fn line(process: &AvailableProcess) -> String {
    let name = display_name(&process.group, &process.name);
    let in_use = match process.in_use {
        true => "in use",
        false => "avail",
    };
    let autostart = match process.autostart {
        true => "auto",
        false => "manual",
    };
    let priorities = format!("{}:{}", process.group_priority, process.priority);
    let name = printable(&name);
    format!("{name:32} {in_use:9} {autostart:9} {priorities}")
}

/// One process for scripts.
pub(super) fn object(host: Option<String>, process: &AvailableProcess) -> json::AvailableProgram {
    json::AvailableProgram {
        host,
        program: display_name(&process.group, &process.name),
        group: process.group.clone(),
        in_use: process.in_use,
        autostart: process.autostart,
        group_priority: process.group_priority,
        priority: process.priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_supervisorctls_columns() {
        let process = AvailableProcess {
            group: "web".into(),
            name: "app_00".into(),
            in_use: true,
            autostart: false,
            group_priority: 10,
            priority: 999,
        };
        let expected = "web:app_00                       in use    manual    10:999";
        assert_eq!(line(&process), expected);
    }
}
