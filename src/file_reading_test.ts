// What may stand where a file should: nothing of it makes anybody wait.
import { assertEquals, assertRejects } from "@std/assert";
import { NoFileError, readBounded, readWhole } from "./file_reading.ts";

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const readers = [
  { name: "readBounded", read: readBounded },
  { name: "readWhole", read: readWhole },
];

for (const { name, read } of readers) {
  Deno.test(`${name}() reads a file and refuses a pipe, a device, a folder and a link to itself`, () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/file`, "text");
      assertEquals(new TextDecoder().decode((await read(`${folder}/file`, 4))!), "text");
      await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
      await assertRejects(() => read(`${folder}/pipe`, 4), NoFileError, "pipe: it is no file");
      await assertRejects(() => read("/dev/zero", 4), NoFileError, "/dev/zero: it is no file");
      await assertRejects(() => read(folder, 1 << 20), Error, "Is a directory");
      await Deno.symlink("loop", `${folder}/loop`);
      await assertRejects(() => read(`${folder}/loop`, 4), Error, "symbolic links");
    }));
}

Deno.test("a file above the limit is null to readBounded(), an error to readWhole()", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    await Deno.writeTextFile(path, "text");
    assertEquals(await readBounded(path, 3), null);
    await assertRejects(() => readWhole(path, 3), NoFileError, "file: 4 bytes, limit is 3");
  }));
