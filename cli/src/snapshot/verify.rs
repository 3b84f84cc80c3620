//! `libhypeman snapshot verify`

use clap::Args;
use hypeman_core::{FileStatus, SnapshotFilter, VerifyReport};

use crate::failure::{Done, Failure};
use crate::given::Limits;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Verify {
    /// Ids of the snapshots [default: all of them]
    ids: Vec<String>,
    #[command(flatten)]
    limits: Limits,
}

impl Verify {
    /// Succeeds only where nothing is wrong; files that nothing is known of are told, and are no failure.
    pub(crate) fn run(self, session: &Session) -> Done {
        let hm = session.look()?;
        let ids = if self.ids.is_empty() {
            hm.snapshots().list(&SnapshotFilter::default())?.iter().map(|one| one.id.clone()).collect()
        } else {
            self.ids
        };
        let mut reports = Vec::new();
        for id in ids {
            let report = session.watch(Some(self.limits), |call| hm.snapshots().verify(&id, call))?;
            if !session.as_json {
                tell(&report)?;
            }
            reports.push(report);
        }
        if session.as_json {
            output::json(&reports)?;
        }
        if reports.iter().all(|report| report.defects.is_empty()) { Ok(()) } else { Err(Failure::Found) }
    }
}

fn tell(report: &VerifyReport) -> Done {
    let VerifyReport { snapshot_id, files, defects } = report;
    let unchecked = files.iter().filter(|file| file.status == FileStatus::Unchecked).count();
    let verdict = match (defects.len(), unchecked) {
        (0, 0) => "good".to_owned(),
        (0, _) => format!("nothing wrong found, {unchecked} of {} files have no checksums", files.len()),
        (1, _) => "1 defect".to_owned(),
        (count, _) => format!("{count} defects"),
    };
    output::line(&format!("{snapshot_id} {verdict}"))?;
    for defect in defects {
        let place = defect.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
        output::line(&format!("  {}{place}: {}", defect.path, defect.message))?;
    }
    Ok(())
}
