//! x
use std::process::ExitCode;
use crate::Result;
pub fn test(_: Option<&str>) -> Result<ExitCode> { Ok(ExitCode::SUCCESS) }
