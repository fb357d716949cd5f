import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "./assert.ts";
import { Listed, Roster } from "./roster.ts";

class Guest extends Listed {
  readonly name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

function rosterOf(names: string): { readonly roster: Roster<Guest>; readonly guests: Guest[] } {
  const roster = new Roster<Guest>();
  const guests = [...names].map((name) => new Guest(name));
  for (const guest of guests) roster.add(guest);
  return { roster, guests };
}

function namesOf(roster: Roster<Guest>): string {
  return roster.members().map(({ name }) => name).join("");
}

Deno.test("Roster lists nobody at first", () => {
  const { roster } = rosterOf("");
  assertEquals([roster.size, roster.first, namesOf(roster)], [0, null, ""]);
});

Deno.test.each([
  { leaves: "", stay: "abcd" },
  { leaves: "a", stay: "bcd" },
  { leaves: "d", stay: "abc" },
  { leaves: "bc", stay: "ad" },
  { leaves: "ca", stay: "bd" },
  { leaves: "dcba", stay: "" },
])("Roster keeps the order of those who stay: without $leaves $stay", ({ leaves, stay }) => {
  const { roster, guests } = rosterOf("abcd");
  for (const name of leaves) {
    assertEquals(roster.delete(guests.find((g) => g.name === name)!), true);
  }
  assertEquals(namesOf(roster), stay);
  assertEquals(roster.size, stay.length);
  assertEquals(roster.first?.name ?? "", stay.slice(0, 1));
});

Deno.test("Roster says that somebody had left already", () => {
  const { roster, guests } = rosterOf("ab");
  assertEquals(roster.delete(guests[0]!), true);
  assertEquals(roster.delete(guests[0]!), false);
  assertEquals(namesOf(roster), "b");
});

Deno.test("Roster takes one who left again, as the last", () => {
  const { roster, guests } = rosterOf("ab");
  roster.delete(guests[0]!);
  roster.add(guests[0]!);
  assertEquals(namesOf(roster), "ba");
});

Deno.test("Roster takes nobody twice", () => {
  const { roster, guests } = rosterOf("a");
  assertThrows(() => roster.add(guests[0]!), AssertionFailure);
});

Deno.test("Roster leaves no reference in one who left", () => {
  const { roster, guests } = rosterOf("abc");
  roster.delete(guests[1]!);
  assertEquals([guests[1]!.listedBefore, guests[1]!.listedAfter], [null, null]);
});
