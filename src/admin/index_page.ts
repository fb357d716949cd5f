// The page at /: what this port offers (spec/config-and-observability §5.3).

const COMMANDS: readonly { readonly path: string; readonly about: string }[] = [
  { path: "debug/pprof/profile", about: "build profile using the pprof profiler" },
  { path: "debug/pprof/heap", about: "collect heap profiling data" },
  { path: "debug/pprof/heap/profiling", about: "show or change the state of heap profiling" },
  { path: "quitquitquit", about: "shut down the server (POST)" },
  { path: "config_dump", about: "dump the present configuration and state" },
  { path: "logging", about: "query or change log levels (POST)" },
  { path: "debug/route", about: "what would happen to a connection, and why" },
];

export function renderIndexPage(): string {
  const rows = COMMANDS.map(({ path, about }, index) =>
    `<tr class="${index % 2 === 0 ? "gray" : "vert-space"}">` +
    `<td class="home-data"><a href="${path}">${path}</a></td>` +
    `<td class="home-data">${about}</td></tr>`
  );
  return `<!DOCTYPE html>
<html>
<head>
<title>Ztunnel Admin</title>
<style>
body { font-family: sans-serif; font-size: medium; }
td, th { padding: 4px 12px; text-align: left; }
.gray { background-color: #ddd; }
</style>
</head>
<body>
<table>
<thead><tr><th>Command</th><th>Description</th></tr></thead>
<tbody>
${rows.join("\n")}
</tbody>
</table>
</body>
</html>
`;
}
