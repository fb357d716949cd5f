// What a proxy says of itself over HTTP, and waiting for it.

export async function dump(): Promise<Record<string, unknown>> {
  return await (await fetch("http://localhost:15000/config_dump")).json();
}

/** The page of metrics, comments too. */
export async function metrics(): Promise<string[]> {
  return (await (await fetch("http://127.0.0.1:15020/metrics")).text()).split("\n");
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
