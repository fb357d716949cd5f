// How root and token files of the control plane are read: anew each time, and none the worse for what editors leave.
import { readWhole } from "./file_reading.ts";
import type { IdentityLog } from "./identity/log.ts";
import { type ReadFile, ROOT_FILE_BYTES_MAX, RootFile } from "./identity/root_file.ts";
import { tokenFileReader } from "./identity/token_file.ts";
import type { ControlServer } from "./config/config.ts";

const readFile: ReadFile = (path) => readWhole(path, ROOT_FILE_BYTES_MAX);

/** Reads the files of one server: its roots as {@link RootFile} does, anything else without line ends at its end. */
export function controlFileReader(
  { root }: Pick<ControlServer, "root">,
  log: IdentityLog,
): ReadFile {
  const readToken = tokenFileReader(readFile);
  if (root.kind !== "file") return readToken;
  const roots = new RootFile(root.path, { readFile, log });
  return (path) => path === root.path ? roots.read(path) : readToken(path);
}
