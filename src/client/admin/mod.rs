//! A client of the administration, as the command line is one: it asks the API, and nothing else.
//!
//! Where a gateway runs it is asked over its unix socket. Where none runs, the same API answers in this process, over the
//! store that the gateway will have. Which of the two it is, is decided in `way` and nowhere else.

mod answer;
mod path;
mod way;

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::admin::api::Page;

use answer::Answer;
pub use answer::{Mark, Marked, Problem};
pub use path::Path;
use way::Way;
pub use way::{AdminError, Reached};

/// How often a change is made anew that somebody else came before.
const TRIES: usize = 5;

/// Asks the API, one request at a time.
pub struct Admin {
    way: Way,
    reached: Reached,
}

/// Which state a request is to find.
#[derive(Debug, Clone, Copy)]
enum Found<'a> {
    /// None.
    Absent,
    /// This one, and no other.
    Marked(&'a Mark),
    /// It isn't said.
    Nothing,
    /// Any, if it is there.
    Whatever,
}

impl Admin {
    /// Reads one thing.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn read<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Marked<T>, AdminError> {
        let answer = self.ask(&Method::GET, path, Found::Nothing, None).await?;
        Ok(Marked { it: answer.read()?, mark: answer.mark() })
    }

    /// Reads a list to its end.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn list<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Vec<T>, AdminError> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = path.clone().with("limit", "500").with_any("cursor", cursor.as_deref());
            let mut page: Page<T> = self.ask(&Method::GET, &page, Found::Nothing, None).await?.read()?;
            items.append(&mut page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Makes something.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn post<A: DeserializeOwned>(&mut self, path: &Path, body: &impl Serialize) -> Result<A, AdminError> {
        self.ask(&Method::POST, path, Found::Nothing, Some(json(body)?)).await?.read()
    }

    /// Has something done that needs no more words.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn act<A: DeserializeOwned>(&mut self, path: &Path) -> Result<A, AdminError> {
        self.ask(&Method::POST, path, Found::Nothing, None).await?.read()
    }

    /// Replaces something that is there, whatever it is now.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn put<A: DeserializeOwned>(&mut self, path: &Path, body: &impl Serialize) -> Result<A, AdminError> {
        self.ask(&Method::PUT, path, Found::Whatever, Some(json(body)?)).await?.read()
    }

    /// Changes something that is there: reads it, changes it, and writes it back if it is still what was read. If somebody
    /// else was faster, what that came to is changed.
    ///
    /// # Errors
    /// [`AdminError`], and what `change` refuses: nothing is written then.
    pub async fn change<T: DeserializeOwned + Serialize, A: DeserializeOwned, E: From<AdminError>>(
        &mut self,
        read: &Path,
        write: &Path,
        mut change: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<A, E> {
        let mut tries = TRIES;
        loop {
            let Marked { mut it, mark } = self.read::<T>(read).await?;
            change(&mut it)?;
            // What nobody has written yet, such as a device that a switch makes up, has no mark.
            let found = mark.as_ref().map_or(Found::Absent, Found::Marked);
            tries -= 1;
            match self.ask(&Method::PUT, write, found, Some(json(&it)?)).await {
                Err(AdminError::Refused(problem)) if problem.is_conflict() && tries > 0 => {}
                answer => return Ok(answer?.read()?),
            }
        }
    }

    /// Takes something away.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn remove<T: DeserializeOwned>(&mut self, path: &Path) -> Result<T, AdminError> {
        self.ask(&Method::DELETE, path, Found::Nothing, None).await?.read()
    }

    /// Has something made that is kept as it comes.
    ///
    /// # Errors
    /// [`AdminError`]: what was kept until then isn't whole.
    pub async fn download(&mut self, path: &Path, keep: &mut (impl io::Write + Send)) -> Result<(), AdminError> {
        self.way.download(request(&Method::POST, path, Found::Nothing, None)?, keep).await
    }

    /// Where the requests go.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    async fn ask(
        &mut self,
        method: &Method,
        path: &Path,
        found: Found<'_>,
        body: Option<Bytes>,
    ) -> Result<Answer, AdminError> {
        self.way.send(request(method, path, found, body)?).await?.of_success()
    }
}

fn request(
    method: &Method,
    path: &Path,
    found: Found<'_>,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, AdminError> {
    let mut request = Request::builder().method(method).uri(path.as_str()).header(header::HOST, "callgate");
    match found {
        Found::Marked(Mark(mark)) => request = request.header(header::IF_MATCH, mark),
        Found::Absent => request = request.header(header::IF_NONE_MATCH, "*"),
        Found::Whatever => request = request.header(header::IF_MATCH, "*"),
        Found::Nothing => {}
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(body.unwrap_or_default().into());
    request.map_err(|error| AdminError::NotUnderstood(error.to_string()))
}

/// What may be in it, such as a password, is wiped behind its sending.
fn json(body: &impl Serialize) -> Result<Bytes, AdminError> {
    let json = serde_json::to_vec(body).map_err(|error| AdminError::NotUnderstood(error.to_string()))?;
    Ok(Bytes::from_owner(Zeroizing::new(json)))
}
