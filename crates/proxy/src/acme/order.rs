//! One certificate, from the order to the file.

use std::{sync::Arc, time::Duration};

use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use tidegate_types::Acme;

use super::{
    challenges::{Challenges, Proof, ProofError},
    client::Client,
    folder::{Account, Folder, FolderError},
};
use crate::tls::{self, PairError};

/// How the authority is asked whether it is convinced, and whether the certificate is there.
const QUESTIONS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_mins(2));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("{0}")]
    Client(String),
    #[error("{}", said(.0))]
    Authority(#[from] Error),
    #[error("the authority is not convinced that the host leads here ({how}): {}", reason(.problem.as_ref()))]
    NotConvinced { how: &'static str, problem: Option<Problem> },
    #[error("the authority takes no proof by {how}")]
    NoSuchProof { how: &'static str },
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("a request for the certificate cannot be made: {0}")]
    Request(#[from] rcgen::Error),
    #[error("what the authority issued cannot be used: {0}")]
    Unusable(#[from] PairError),
    #[error("what the authority issued is for another host")]
    OtherHost,
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl OrderError {
    /// Whether the authority says that it was asked too often.
    pub(super) fn has_had_enough(&self) -> bool {
        self.is_of_kind("rateLimited")
    }

    /// Whether the authority knows nothing of the account.
    fn is_of_unknown_account(&self) -> bool {
        self.is_of_kind("accountDoesNotExist")
    }

    fn is_of_kind(&self, kind: &str) -> bool {
        let (Self::Authority(Error::Api(problem))
        | Self::NotConvinced { problem: Some(problem), .. }) = self
        else {
            return false;
        };
        let name = problem.r#type.as_deref().and_then(|name| name.rsplit(':').next());
        name == Some(kind)
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => format!("the authority says: {}", reason(Some(problem))),
        Error::Timeout(_) => "the authority did not come to an end in time".to_owned(),
        other => other.to_string(),
    }
}

fn reason(problem: Option<&Problem>) -> String {
    let detail = problem.and_then(|problem| problem.detail.clone().or(problem.r#type.clone()));
    detail.unwrap_or_else(|| "it does not say why".to_owned())
}

fn how(proof: Proof) -> &'static str {
    match proof {
        Proof::Tls => "tls-alpn-01, asked at port 443",
        Proof::Http => "http-01, asked at port 80",
    }
}

/// Orders a certificate for a host and stores it.
pub(super) async fn order(
    acme: &Acme,
    host: &str,
    proof: Proof,
    folder: &Folder,
    challenges: &Arc<Challenges>,
) -> Result<(), OrderError> {
    let outcome = attempt(acme, host, proof, folder, challenges).await;
    if outcome.as_ref().is_err_and(OrderError::is_of_unknown_account) {
        folder.forget_account();
    }
    outcome
}

async fn attempt(
    acme: &Acme,
    host: &str,
    proof: Proof,
    folder: &Folder,
    challenges: &Arc<Challenges>,
) -> Result<(), OrderError> {
    let account = account(acme, folder).await?;
    let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(host.to_owned())])).await?;
    prove(&mut order, host, proof, challenges).await?;
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&QUESTIONS).await?;
    let text = Secret(format!("{}\n{}", chain.trim_end(), key.serialize_pem()));
    let (folder, host) = (folder.clone(), host.to_owned());
    beside(move || {
        folder.store_certificate(&host, &text.0, |files| {
            if tls::is_for(files, &host)? { Ok(()) } else { Err(OrderError::OtherHost) }
        })
    })
    .await?
}

/// A certificate with its key.
struct Secret(String);

/// The account with the authority: that of before, or a new one.
async fn account(acme: &Acme, folder: &Folder) -> Result<instant_acme::Account, OrderError> {
    let root = acme.root.clone();
    let client = beside(move || Client::new(root.as_deref())).await?.map_err(OrderError::Client)?;
    let client = instant_acme::Account::builder_with_http(Box::new(client));
    let address = acme.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = address.as_deref().into_iter().collect();
    let Some(kept) = read(folder).await? else {
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = client.create(&new, acme.directory.clone(), None).await?;
        store(folder, Account { email: acme.email.clone(), credentials }).await?;
        return Ok(account);
    };
    let account = client.from_credentials(kept.credentials).await?;
    if kept.email != acme.email {
        account.update_contacts(&contact).await?;
        if let Some(kept) = read(folder).await? {
            store(folder, Account { email: acme.email.clone(), ..kept }).await?;
        }
    }
    Ok(account)
}

async fn read(folder: &Folder) -> Result<Option<Account>, OrderError> {
    let folder = folder.clone();
    beside(move || folder.account()).await
}

async fn store(folder: &Folder, account: Account) -> Result<(), OrderError> {
    let folder = folder.clone();
    Ok(beside(move || folder.store_account(&account)).await??)
}

/// Convinces the authority that the host leads here.
async fn prove(
    order: &mut Order,
    host: &str,
    proof: Proof,
    challenges: &Arc<Challenges>,
) -> Result<(), OrderError> {
    let kind = || match proof {
        Proof::Tls => ChallengeType::TlsAlpn01,
        Proof::Http => ChallengeType::Http01,
    };
    let how = how(proof);
    let mut answering = None;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            // It was convinced by an earlier order.
            continue;
        }
        let mut challenge =
            authorization.challenge(kind()).ok_or(OrderError::NoSuchProof { how })?;
        let answer = challenge.key_authorization();
        answering = Some(challenges.prepare(proof, host, &challenge.token, &answer)?);
        if let Err(error) = challenge.set_ready().await {
            // It may have looked before it answers, and then its answer says what it found.
            return Err(match what_it_found(order).await {
                None => error.into(),
                problem => OrderError::NotConvinced { how, problem },
            });
        }
    }
    let outcome = order.poll_ready(&QUESTIONS).await;
    drop(answering);
    match outcome {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) | Err(Error::Api(_)) => {
            Err(OrderError::NotConvinced { how, problem: what_it_found(order).await })
        }
        Err(error) => Err(error.into()),
    }
}

/// What the authority found wrong with the proof.
async fn what_it_found(order: &mut Order) -> Option<Problem> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.clone());
        if problem.is_some() {
            return problem;
        }
    }
    order.state().error.clone()
}

/// Does what may wait for a disk.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OrderError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| OrderError::Client(error.to_string()))
}
