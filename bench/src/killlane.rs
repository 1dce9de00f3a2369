//! A kill while the queue of commits is full and a validation over many tenants is under way.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::child::{Server, flag_name, open_many_files};
use crate::http::Client;
use crate::load::Load;
use crate::stats::{Row, human, percentile};
use crate::streams::Crowd;

const READERS: usize = 1_000;
const KILLS: usize = 200;
const BUDGET: Duration = Duration::from_millis(50);

/// Measures until a kill is durable, and until every stream has it.
pub async fn run() -> Result<Vec<Row>> {
    open_many_files()?;
    let server = Server::start("validating", 100)?;
    let crowd = Crowd::connect(server.address, READERS, r#""kind":"kill""#).await?;
    let load = Load::start(server.address)?;
    let begin = Instant::now();
    let mut client = Client::connect(server.address)?;
    let (mut durable, mut told) = (Vec::new(), Vec::new());
    for round in 0..KILLS {
        // Each kills another flag for another tenant, so that none has to be lifted between.
        let path = format!(
            "/v1/environments/production/tenants/tenant-{round}/kills/flag:{}",
            flag_name(round % 100)
        );
        let begin = Instant::now();
        let all = crowd.told_after(|| {
            client.put(&path, r#"{"reason":"bench"}"#)?;
            durable.push(begin.elapsed());
            Ok(())
        });
        told.push(all.await?);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let tally = load.end()?;
    let meanwhile = format!(
        "{:.0} commits/s made and {:.0}/s refused meanwhile",
        tally.committed as f64 / seconds,
        tally.refused as f64 / seconds
    );
    let row = |what: &str, times: &mut [Duration]| {
        let p99 = percentile(times, 0.99);
        Row {
            what: format!("{what}, queue full, 100,000 tenants being validated, p99 of {KILLS}"),
            ours: format!("{} (p50 {})", human(p99), human(percentile(times, 0.5))),
            floor: meanwhile.clone(),
            ratio: String::new(),
            budget: format!("≤ {}", human(BUDGET)),
            met: Some(p99 <= BUDGET),
        }
    };
    Ok(vec![
        row("kill begun → durable", &mut durable),
        row(&format!("kill begun → at each of {READERS} streams"), &mut told),
    ])
}
