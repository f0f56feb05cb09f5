import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { durationText, Output, oneLine, printable } from "./output.ts";

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

  it("takes the colors of an app back at the end of its line, and hides nothing", () => {
    const text = "\u001b[8mhidden \u001b[41mred";
    const { isTTY } = process.stdout;
    const noColor = process.env["NO_COLOR"];
    try {
      process.stdout.isTTY = true;
      delete process.env["NO_COLOR"];
      assert.equal(new Output(false).quoted("plain"), "plain");
      assert.equal(new Output(false).quoted(text), "hidden \u001b[41mred\u001b[0m");
      process.env["NO_COLOR"] = "1";
      assert.equal(new Output(false).quoted(text), "hidden red");
    } finally {
      process.stdout.isTTY = isTTY;
      delete process.env["NO_COLOR"];
      if (noColor !== undefined) process.env["NO_COLOR"] = noColor;
    }
  });

  it("lets no value look like a line of ours", () => {
    assert.equal(oneLine('x\n} 5\r\nforged{app="other"} 9'), 'x\\n} 5\\nforged{app="other"} 9');
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
