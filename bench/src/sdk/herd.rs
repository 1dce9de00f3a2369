//! Many clients that lose their server at once, and find it again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use plane_client::ControlPlane;
use plane_client::sdk::{Context, Level, Source};
use plane_log::{LogId, SqliteLog};
use plane_registry::SigningKey;
use plane_server::ServerKeys;
use plane_state::delivery::KeyRing;

use super::{GIVE_UP, client};
use crate::child::{flag_name, install, open_many_files, resident_kib, targeting};
use crate::http::Client;
use crate::platform::node;
use crate::stats::{Row, human, percentile};
use crate::streams::commit;

/// The argument that makes this program a server that can be killed and started again.
pub const CHILD: &str = "--herd-server";
/// How many clients there are, each with the threads and connections that every client has.
const CLIENTS: usize = 2_000;
const FLAGS: usize = 100;
/// How long the server is away.
const AWAY: Duration = Duration::from_secs(5);
/// Reconnects are counted by this.
const WINDOW_MS: u128 = 100;

/// Measures what becomes of them and of the server.
pub(super) fn run() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir_in(".")?;
    let mut server = Herded::start(dir.path(), None)?;
    let url = format!("http://{}", server.address);
    let back = Arc::new(Mutex::new(Vec::with_capacity(CLIENTS)));
    let planes: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let back = back.clone();
            let listen = move |event: &plane_client::sdk::Event| {
                if event.level == Level::Info && event.message.starts_with("a server is followed again") {
                    back.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            };
            client(&url).instance(&format!("instance-{number}")).on_event(listen).build()
        })
        .collect::<Result<_, _>>()?;
    for plane in &planes {
        plane.wait_ready(GIVE_UP)?;
    }
    let all_live = |planes: &[ControlPlane]| {
        wait_for(|| planes.iter().all(|it| it.status().first().is_some_and(|it| it.source == Source::Live)))
    };
    all_live(&planes)?;
    let before_kib = server.resident_kib()?;

    let requests = Requests::default();
    let ended = std::thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| requests.ask(&planes));
        let measured = fall_and_rise(&mut server, dir.path(), &planes, &back);
        requests.is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().ok().context("a request panicked")?;
        Ok((measured?, asked))
    });
    let ((restarted, current, after_kib), asked) = ended?;
    let failed = requests.failed.load(Ordering::Relaxed);
    let mut back = std::mem::take(&mut *back.lock().unwrap_or_else(PoisonError::into_inner));
    back.sort_unstable();
    ensure!(back.len() >= CLIENTS, "only {} clients said that they are back", back.len());
    let mut waits: Vec<_> = back.iter().map(|at| at.saturating_duration_since(restarted)).collect();
    let busiest = busiest(&waits);
    let share = |share| human(percentile(&mut waits.clone(), share));
    let spread = format!("first {}, half {}, 90 % {}", share(0.0), share(0.5), share(0.9));
    let last = percentile(&mut waits, 1.0);
    let growth = after_kib as f64 / before_kib as f64;
    Ok(vec![
        Row {
            what: format!("{CLIENTS} clients lose their server for {} s: requests that failed", AWAY.as_secs()),
            ours: format!("{failed} of {asked}"),
            floor: String::new(),
            ratio: String::new(),
            budget: "0".to_owned(),
            met: Some(failed == 0),
        },
        Row {
            what: "… server ready again → the last of them follows it".to_owned(),
            ours: format!("{} ({spread})", human(last)),
            floor: String::new(),
            ratio: format!("at most {busiest} in {WINDOW_MS} ms"),
            budget: format!("≤ half of them in {WINDOW_MS} ms"),
            met: Some(busiest <= CLIENTS / 2),
        },
        Row {
            what: "… a commit made then → the last of them has it".to_owned(),
            ours: human(current),
            floor: String::new(),
            ratio: String::new(),
            budget: String::new(),
            met: None,
        },
        Row {
            what: format!("… memory of the server with {CLIENTS} clients, most while they came back"),
            ours: format!("{:.1} MiB", after_kib as f64 / 1_024.0),
            floor: format!("{:.1} MiB before", before_kib as f64 / 1_024.0),
            ratio: format!("{growth:.2}"),
            budget: "≤ 2".to_owned(),
            met: Some(growth <= 2.0),
        },
    ])
}

/// Kills the server, starts it again, and waits until all follow it and have the next commit.
fn fall_and_rise(
    server: &mut Herded,
    dir: &Path,
    planes: &[ControlPlane],
    back: &Mutex<Vec<Instant>>,
) -> Result<(Instant, Duration, u64)> {
    server.kill()?;
    std::thread::sleep(AWAY);
    *server = Herded::start(dir, Some(server.address))?;
    let restarted = Instant::now();
    let mut most_kib = 0;
    wait_for(|| {
        most_kib = most_kib.max(server.resident_kib().unwrap_or_default());
        back.lock().unwrap_or_else(PoisonError::into_inner).len() >= planes.len()
    })?;
    let mut writer = Client::connect(server.address)?;
    let begin = Instant::now();
    writer.post("/v1/commits", &commit("production", &flag_name(0), targeting(7).to_string()))?;
    let plane = planes.first().context("there are no clients")?;
    let is_new = |revision: u64, plane: &ControlPlane| {
        plane.snapshot().is_ok_and(|it| it.revision() > revision)
    };
    let revision = plane.snapshot()?.revision();
    // The first may have it already; then the others will have that one.
    let least = if is_new(revision, plane) { revision } else { revision.saturating_sub(1) };
    wait_for(|| planes.iter().all(|plane| is_new(least, plane)))?;
    Ok((restarted, begin.elapsed(), most_kib.max(server.resident_kib()?)))
}

/// Requests in every client, one after the other, until it is over.
#[derive(Debug, Default)]
struct Requests {
    is_over: AtomicBool,
    failed: AtomicU64,
}

impl Requests {
    fn ask(&self, planes: &[ControlPlane]) -> u64 {
        let ctx = Context::new().with_tenant("acme");
        let mut asked = 0;
        for (number, plane) in planes.iter().enumerate().cycle() {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let detail = plane.evaluate(&flag_name(1 + number % (FLAGS - 1)), &ctx, false);
            if detail.error.is_some() || detail.revision == 0 {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            asked += 1;
            // Requests come and go; the machine is not there for them alone.
            if number.is_multiple_of(100) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        asked
    }
}

fn busiest(waits: &[Duration]) -> usize {
    let mut windows = std::collections::BTreeMap::<u128, usize>::new();
    for wait in waits {
        *windows.entry(wait.as_millis() / WINDOW_MS).or_default() += 1;
    }
    windows.into_values().max().unwrap_or_default()
}

fn wait_for(mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !is_so() {
        ensure!(begin.elapsed() < GIVE_UP, "it did not come to pass in {GIVE_UP:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A server that can be killed and started again, on the same data and address.
struct Herded {
    address: SocketAddr,
    child: Child,
}

impl Herded {
    fn start(dir: &Path, address: Option<SocketAddr>) -> Result<Self> {
        let address = match address {
            Some(address) => address,
            None => std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args([CHILD, &dir.display().to_string(), &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        ensure!(line.trim() == address.to_string(), "the server said `{line}`");
        Ok(Self { address, child })
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn resident_kib(&self) -> Result<u64> {
        resident_kib(self.child.id())
    }
}

impl Drop for Herded {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// Serves what is in a directory at an address, until it is killed.
pub async fn serve(dir: &Path, address: &str) -> Result<()> {
    open_many_files()?;
    let node = node(Arc::new(SqliteLog::open(dir, &LogId::new("bench")?)?)).await?;
    if node.snapshot().revision() == 0 {
        install(&node, FLAGS).await?;
    }
    let socket = tokio::net::TcpSocket::new_v4()?;
    // The connections of the one that was killed are not quite gone.
    socket.set_reuseaddr(true)?;
    socket.bind(address.parse()?)?;
    let listener = socket.listen(4_096)?;
    // The same each time: clients refuse a server that comes back with a key that nothing leads to.
    let ring = KeyRing::new(SigningKey::from_seed(&[7; 32]));
    let options =
        plane_server::ServerOptions { keys: ServerKeys::new(ring), ..Default::default() };
    let router = plane_server::router(node, options.clone());
    println!("{address}");
    plane_server::serve(listener, router, options).await;
    Ok(())
}
