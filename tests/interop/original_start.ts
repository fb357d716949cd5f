// How a proxy starts with each of {@link STARTS}, or does not.
import { MeshCa } from "../support/mesh_ca.ts";
import { type Start, STARTS } from "./original_starts.ts";
import { dump, pause } from "./original_told.ts";

export async function watchStarts(binary: string | null): Promise<unknown> {
  const seen = [];
  for (const { what, env, files = {} } of STARTS) {
    const folder = await Deno.makeTempDir({ prefix: "original-start-" });
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(`${folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeTextFile(`${folder}/${path}`, text);
    }
    await (await MeshCa.create()).writeRoot(folder);
    await Deno.rename(`${folder}/root-cert.pem`, `${folder}/root.pem`);
    const root = new URL("../../", import.meta.url).pathname;
    const command = binary === null
      ? [
        Deno.execPath(),
        "run",
        "--quiet",
        "-A",
        "--config",
        `${root}deno.json`,
        `${root}mod.ts`,
        "proxy",
      ]
      : [binary, "proxy"];
    const names = Object.keys(env).filter((name) =>
      /^(ISTIO_META|XDS_HEADER|CA_HEADER)/.test(name)
    );
    const child = new Deno.Command(command[0]!, {
      args: command.slice(1),
      cwd: folder,
      clearEnv: true,
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        HOME: Deno.env.get("HOME") ?? "",
        DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`,
        NO_COLOR: "1",
        DENO_TLS_CA_STORE: "",
        ...binary === null ? { IO_PROVIDER: "native", ZTUNNEL_ENV_NAMES: names.join() } : {},
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: "ns/p/sa",
        FAKE_CA: "true",
        ISTIO_META_DNS_CAPTURE: "false",
        ...needsControlPlane(env, files)
          ? "XDS_ROOT_CA" in env ? {} : { XDS_ROOT_CA: `${folder}/root.pem` }
          : {
            XDS_ADDRESS: "",
            ...("LOCAL_XDS" in env || "LOCAL_XDS_PATH" in env) ? {} : { LOCAL_XDS: "{}" },
          },
        ...env,
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let ended = false;
    const output = child.output().then((output) => {
      ended = true;
      return new TextDecoder().decode(output.stdout) + new TextDecoder().decode(output.stderr);
    });
    let dumped: Record<string, unknown> | null = null;
    for (let tries = 0; tries < 100 && !ended && dumped === null; tries++) {
      await pause(50);
      dumped = await dump().catch(() => null);
    }
    if (!ended) child.kill("SIGKILL");
    const text = await output;
    seen.push({
      what,
      ended,
      error: text.split("\n").filter((line) =>
        /^(Error|error)|panicked|\t(error|warn)\t/.test(line)
      ),
      config: dumped?.["config"] ?? null,
      mesh: dumped === null ? null : [
        dumped["workloads"],
        dumped["services"],
        dumped["policies"],
        dumped["stagedServices"],
        dumped["staticConfig"],
      ],
    });
    await Deno.remove(folder, { recursive: true });
  }
  return seen;
}

/** Whether a start is about the control plane, and not about everything else. */
function needsControlPlane(env: Start["env"], files: Start["files"]): boolean {
  return Object.keys({ ...env, ...files }).some((name) =>
    /XDS_(ADDRESS|ROOT)|PROXY_CONFIG|mesh/.test(name)
  );
}
