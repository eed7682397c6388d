//! Probes of the ranks' container: kubelet knows nothing of rows, and would kill ranks that do not answer because it is another gang's
//! turn. So the supervisor's program asks in its place (`strobe-init probe`), for as long as the ranks have run for the probe's time.

use std::iter;

use k8s_openapi::api::core::v1::{Container, ContainerPort, ExecAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The abstract socket at which a supervisor says whether its ranks run.
pub const SOCKET: &str = "strobe-probe";

/// What kubelet takes where a probe states no time, in seconds.
const DEFAULT_TIMEOUT: i32 = 1;

/// What kubelet waits beyond the time that the check is given: for the program to begin and to end.
const STARTING: u64 = 2;

/// True when any probe of the container is asked by the supervisor's program.
#[must_use]
pub const fn has_any(container: &Container) -> bool {
    container.liveness_probe.is_some() || container.readiness_probe.is_some() || container.startup_probe.is_some()
}

/// Why a probe of the container cannot be asked by a program.
#[must_use]
pub fn refusal(container: &Container) -> Option<String> {
    let ports = container.ports.as_deref().unwrap_or_default();
    let kinds = [("liveness", &container.liveness_probe), ("readiness", &container.readiness_probe), ("startup", &container.startup_probe)];
    let of = |(kind, probe): (&str, &Option<Probe>)| {
        let why = check(probe.as_ref()?, ports).err()?;
        Some(format!("the {kind} probe of container {:?} {why}", container.name))
    };
    kinds.into_iter().find_map(of)
}

/// Has the probes asked by the supervisor's program, where a gang waits for the turns of so many rows.
pub fn rewrite(container: &mut Container, program: &str, rows: u8) {
    let ports = container.ports.clone().unwrap_or_default();
    let kinds = [
        ("liveness", &mut container.liveness_probe),
        ("readiness", &mut container.readiness_probe),
        ("startup", &mut container.startup_probe),
    ];
    for (kind, probe) in kinds {
        let Some(probe) = probe else { continue };
        // What cannot be asked for is refused before; it is left as it is.
        let Ok(check) = check(probe, &ports) else { continue };
        let timeout = u64::try_from(probe.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT).max(1)).unwrap_or(1);
        // In so many rows a gang has its time within as many times that, and a little for the turns.
        let wait = timeout * u64::from(rows) + 1;
        let options = [format!("--kind={kind}"), format!("--timeout-seconds={timeout}"), format!("--wait-seconds={wait}")];
        let command = [program.to_owned(), "probe".to_owned()].into_iter().chain(options).chain(check).collect();
        probe.exec = Some(ExecAction { command: Some(command) });
        (probe.http_get, probe.tcp_socket) = (None, None);
        probe.timeout_seconds = Some(i32::try_from(wait + STARTING).unwrap_or(i32::MAX));
    }
}

/// What the program is told to check, or why it cannot.
fn check(probe: &Probe, ports: &[ContainerPort]) -> Result<Vec<String>, String> {
    if let Some(exec) = &probe.exec {
        let command = exec.command.iter().flatten().cloned();
        return Ok(["exec", "--"].map(str::to_owned).into_iter().chain(command).collect());
    }
    if let Some(http) = &probe.http_get {
        if http.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
            return Err("is one of HTTPS, which is not asked for while gangs take turns: use HTTP, a TCP socket or a program".to_owned());
        }
        let headers = http.http_headers.iter().flatten().map(|header| format!("--header={}: {}", header.name, header.value));
        let path = http.path.as_deref().filter(|path| !path.is_empty()).map(|path| format!("--path={path}"));
        let place = place("http", &http.port, http.host.as_deref(), ports)?;
        return Ok(place.into_iter().chain(path).chain(headers).map(|word| literal(&word)).collect());
    }
    if let Some(tcp) = &probe.tcp_socket {
        return Ok(place("tcp", &tcp.port, tcp.host.as_deref(), ports)?.into_iter().map(|word| literal(&word)).collect());
    }
    Err("is one of gRPC, which is not asked for while gangs take turns: use HTTP, a TCP socket or a program".to_owned())
}

fn place(kind: &str, port: &IntOrString, host: Option<&str>, ports: &[ContainerPort]) -> Result<Vec<String>, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| {
        let IntOrString::String(name) = port else { unreachable!("a number is one") };
        format!("asks for port {name:?}, which the container does not name")
    })?;
    let host = host.filter(|host| !host.is_empty()).map(|host| format!("--host={host}"));
    Ok(iter::once(kind.to_owned()).chain([format!("--port={number}")]).chain(host).collect())
}

/// As it stands: in commands kubelet expands references to variables, in pages and headers it does not.
fn literal(word: &str) -> String {
    word.replace("$(", "$$(")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(probe: &Value) -> Container {
        let ports = json!([{ "name": "web", "containerPort": 8080 }]);
        serde_json::from_value(json!({ "name": "rank", "ports": ports, "livenessProbe": probe })).unwrap()
    }

    fn rewritten(probe: &Value) -> Value {
        let mut container = container(probe);
        assert_eq!((refusal(&container), has_any(&container)), (None, true));
        rewrite(&mut container, "/strobe/strobe-init", 4);
        serde_json::to_value(container.liveness_probe).unwrap()
    }

    fn command(probe: &Value) -> Vec<String> {
        let made = rewritten(probe);
        let words = made["exec"]["command"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_page_is_asked_for_by_the_supervisors_program_for_as_long_as_all_rows_take() {
        let headers = json!([{ "name": "X-Deep", "value": "$(no reference)" }]);
        let probe = json!({
            "httpGet": { "port": "web", "path": "/healthz", "httpHeaders": headers }, "timeoutSeconds": 3, "periodSeconds": 7,
        });
        let made = rewritten(&probe);
        assert_eq!((&made["timeoutSeconds"], &made["periodSeconds"], made.get("httpGet")), (&json!(15), &json!(7), None));
        let words = ["/strobe/strobe-init", "probe", "--kind=liveness", "--timeout-seconds=3", "--wait-seconds=13"];
        let page = ["http", "--port=8080", "--path=/healthz", "--header=X-Deep: $$(no reference)"];
        assert_eq!(command(&probe), words.into_iter().chain(page).collect::<Vec<_>>());
    }

    #[test]
    fn ports_and_programs_are_asked_in_the_same_way() {
        let end = |probe: Value| command(&probe)[5..].to_vec();
        assert_eq!(end(json!({ "tcpSocket": { "port": 9, "host": "db" } })), ["tcp", "--port=9", "--host=db"]);
        assert_eq!(end(json!({ "exec": { "command": ["check", "$(SIZE)"] } })), ["exec", "--", "check", "$(SIZE)"]);
        assert_eq!(end(json!({ "tcpSocket": { "port": "9" } })), ["tcp", "--port=9"]);
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_its_reason() {
        let said = |probe: Value| refusal(&container(&probe)).unwrap();
        assert!(said(json!({ "grpc": { "port": 9 } })).starts_with("the liveness probe of container \"rank\" is one of gRPC"));
        assert!(said(json!({ "httpGet": { "port": 9, "scheme": "HTTPS" } })).contains("HTTPS"));
        assert!(said(json!({ "tcpSocket": { "port": "metrics" } })).contains("port \"metrics\""));
    }
}
