import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { durationText, printable } from "./output.ts";

describe("what reaches a terminal", () => {
  it("keeps text, tabs, line ends and colors as they are", () => {
    const text = "Größe:\t3\n\u001b[31mred\u001b[0m ✓";
    assert.equal(printable(text), text);
  });

  it("shows what would move the cursor, clear the screen, set the title or the clipboard", () => {
    const hostile =
      "\u001b[2J\u001b]0;title\u0007\u001b]52;c;aGk=\u0007over\rwritten\u009b2J\u007f";
    assert.equal(printable(hostile), "^[[2J^[]0;title^G^[]52;c;aGk=^Gover^Mwritten\\x9b2J\\x7f");
  });

  it("rounds durations as people read them", () => {
    assert.deepEqual([950, 1_234, 59_960, 599_800, 3_725_000].map(durationText), [
      "950 ms",
      "1.2 s",
      "1 min 0 s",
      "10 min 0 s",
      "1 h 2 min",
    ]);
  });
});
