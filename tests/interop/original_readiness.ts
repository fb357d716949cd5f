// Readiness while the first answers are missing, or refused.
import { type Push, responseOf } from "../support/xds_pushes.ts";
import { describeHeard } from "../support/xds_server.ts";
import { client } from "./original_routes.ts";
import { startSubject } from "./original_subject.ts";
import { pause } from "./original_told.ts";

export async function watchReadiness(binary: string | null): Promise<unknown> {
  await using subject = await startSubject({
    binary,
    env: { NETWORK: "network1" },
    workload: "ns/client/client",
    prepare: (server) => {
      server.hold("Address");
      server.hold("Authorization");
    },
    waitReady: false,
  });
  const { server } = subject;
  const notes: unknown[] = [];
  const note = async (what: string) => {
    await pause(200);
    const page = async (url: string) => {
      const answer = await fetch(url).catch(() => null);
      return answer === null ? null : [answer.status, await answer.text()];
    };
    notes.push({
      what,
      ready: await page("http://127.0.0.1:15021/healthz/ready"),
      heard: server.heard.map(describeHeard),
      listens: await Promise.all(
        [15001, 15006, 15008, 15080].map((port) =>
          Deno.connect({ hostname: "127.0.0.1", port }).then((c) => (c.close(), true), () => false)
        ),
      ),
    });
  };
  const say = (type: "Address" | "Authorization", set: Push["set"]) =>
    server.say(responseOf({ what: "", type, ...set === undefined ? {} : { set } }));
  await note("nothing was said");
  say("Address", [["bad", new Uint8Array()], client()]);
  await note("addresses, one of them bad");
  say("Authorization", [["ns/bad", { scope: 9 }]]);
  await note("a bad policy");
  say("Authorization", []);
  await note("no policies");
  say("Address", []);
  await note("no addresses");
  return { notes, lines: subject.lines.filter((line) => line.includes("readiness")) };
}
