//! The application, and the proxies that Tidegate is measured beside: nginx and `HAProxy` as they are
//! installed, set up to do the same.

use std::{net::SocketAddr, path::Path};

use crate::{
    Failure,
    data_plane::{
        certificate::Pair,
        ground::{Ground, Server, Side, free_address, write},
    },
};

/// What is asked for.
pub(crate) const BODIES: [(&str, usize); 2] = [("1k", 1_024), ("100k", 102_400)];

/// Two versions of an application: one nginx with a port for each.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) stable: SocketAddr,
    pub(crate) candidate: SocketAddr,
    _server: Server,
}

/// Starts the application.
pub(crate) fn application(ground: &Ground, nginx: &Path) -> Result<Application, Failure> {
    let root = ground.path().join("application");
    for (name, size) in BODIES {
        write(&root.join("files").join(name), vec![b'x'; size])?;
    }
    let (stable, candidate) = (free_address()?, free_address()?);
    let server = |address: SocketAddr, version: &str| {
        format!(
            "server {{ listen {address} backlog=4096; root {}; add_header X-Version {version}; }}",
            root.join("files").display(),
        )
    };
    let both = format!("{}\n{}", server(stable, "stable"), server(candidate, "candidate"));
    let text = nginx_configuration(
        &root,
        &format!("sendfile on; tcp_nopush on; open_file_cache max=100;\n{both}"),
    );
    let running =
        start_nginx(ground, nginx, "application", Side::World, &text, &[stable, candidate]);
    Ok(Application { stable, candidate, _server: running? })
}

/// A proxy under measurement.
#[derive(Debug)]
pub(crate) struct Rival {
    pub(crate) plain: SocketAddr,
    pub(crate) secure: Option<SocketAddr>,
    pub(crate) server: Server,
}

/// nginx, 90 % of the visitors to one version and 10 % to the other.
pub(crate) fn nginx(
    ground: &Ground,
    program: &Path,
    application: &Application,
    certificate: Option<&Pair>,
) -> Result<Rival, Failure> {
    let plain = free_address()?;
    let secure = certificate.map(|_| free_address()).transpose()?;
    let tls = secure.zip(certificate).map_or_else(String::new, |(address, files)| {
        format!(
            "listen {address} reuseport backlog=4096 ssl http2; ssl_protocols TLSv1.3; \
             ssl_certificate {}; ssl_certificate_key {};",
            files.certificate.display(),
            files.key.display()
        )
    });
    let pool = |name: &str, address: SocketAddr| {
        format!(
            "upstream {name} {{ server {address}; keepalive 512; keepalive_requests 100000000; }}"
        )
    };
    let http = format!(
        "{}\n{}\n\
         split_clients $http_cookie $pool {{ 10% candidate; * stable; }}\n\
         proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Request-Id $request_id;\n\
         proxy_buffer_size 16k;\n\
         proxy_buffers 8 32k;\n\
         proxy_max_temp_file_size 0;\n\
         server {{ listen {plain} reuseport backlog=4096; {tls} location / {{ proxy_pass http://$pool; }} }}",
        pool("stable", application.stable),
        pool("candidate", application.candidate),
    );
    let text = nginx_configuration(&ground.path().join("nginx"), &http);
    let server = start_nginx(ground, program, "nginx", Side::Proxy, &text, &[plain])?;
    Ok(Rival { plain, secure, server })
}

/// What every nginx here has: one worker, connections that stay open, no log.
fn nginx_configuration(root: &Path, http: &str) -> String {
    let root = root.display();
    // Otherwise its worker could not read what only we can.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 65536;\n{user}\
         pid {root}/pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 32768; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 100000000;\nkeepalive_timeout 600s;\n\
         {temporary}{http}\n}}\n"
    )
}

fn start_nginx(
    ground: &Ground,
    program: &Path,
    name: &str,
    side: Side,
    text: &str,
    addresses: &[SocketAddr],
) -> Result<Server, Failure> {
    let path = ground.path().join(name).join("nginx.conf");
    write(&path, text)?;
    let mut command = ground.command(side, program);
    command.arg("-p").arg(ground.path().join(name)).arg("-c").arg(&path);
    ground.serve(name, command, addresses)
}

/// `HAProxy`, 90 % to one version and 10 % to the other.
pub(crate) fn haproxy(
    ground: &Ground,
    program: &Path,
    application: &Application,
    certificate: Option<&Pair>,
) -> Result<Rival, Failure> {
    let plain = free_address()?;
    let secure = certificate.map(|_| free_address()).transpose()?;
    let tls = secure.zip(certificate).map_or_else(String::new, |(address, files)| {
        format!(
            "bind {address} backlog 4096 ssl crt {} ssl-min-ver TLSv1.3 alpn h2,http/1.1\n  ",
            files.both.display()
        )
    });
    let text = format!(
        "global\n  nbthread 1\n  no strict-limits\n  maxconn 16384\n\
         defaults\n  mode http\n  option forwardfor\n  http-reuse always\n  \
         timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n  \
         timeout http-keep-alive 600s\n\
         frontend plain\n  bind {plain} backlog 4096\n  {tls}\
         http-request set-header X-Forwarded-Proto http\n  default_backend both\n\
         backend both\n  \
         server stable {} weight 90 pool-max-conn 512\n  \
         server candidate {} weight 10 pool-max-conn 512\n",
        application.stable, application.candidate,
    );
    let path = ground.path().join("haproxy").join("haproxy.cfg");
    write(&path, text)?;
    let mut command = ground.command(Side::Proxy, program);
    command.arg("-db").arg("-f").arg(&path);
    Ok(Rival { plain, secure, server: ground.serve("haproxy", command, &[plain])? })
}
