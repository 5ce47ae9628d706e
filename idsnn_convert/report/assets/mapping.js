// The page of a mapping: select a block, filter tensors. All text enters the page as text, never as markup.
"use strict";
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const network = document.querySelector(".network");
  const panel = document.getElementById("panel");
  if (!network) return;
  const boxes = new Map([...network.querySelectorAll(".box")].map((box) => [box.dataset.key, box]));
  const links = [...network.querySelectorAll(".link")].map((line) => ({ line, ends: line.dataset.ends.split("|") }));
  const words = { exact: "copied", looped: "looped", fresh: "fresh", unused: "unused" };

  function make(name, attributes, ...content) {
    const svg = ["svg", "path", "line", "text"].includes(name);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...content.filter((part) => part !== null && part !== ""));
    return element;
  }
  const shape = (dims) => (dims ? dims.join("×") : "");
  const short = (value) =>
    value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : Number(value.toPrecision(3)).toString();

  // --- histograms: the teacher's values as a grey area, the student's as a line, both of area one on one axis.

  function steps({ low, high, counts }, x, top) {
    if (!counts.length) return "";
    const all = counts.reduce((sum, count) => sum + count, 0);
    const wide = (high - low) / counts.length;
    const y = (count) => 40 - (38 * count) / all / (wide || 1) / top;
    let path = `M${x(low)} 40`;
    counts.forEach((count, i) => (path += `V${y(count).toFixed(1)}H${x(low + (i + 1) * wide).toFixed(1)}`));
    return `${path}V40`;
  }
  const highest = ({ low, high, counts }) =>
    Math.max(...counts, 0) / counts.reduce((sum, count) => sum + count, 1e-9) / ((high - low) / counts.length || 1);

  function histogram(tensor) {
    const both = [tensor.source_histogram, tensor.histogram].filter((one) => one && one.counts.length);
    if (!both.length) return null;
    const low = Math.min(...both.map((one) => one.low)),
      high = Math.max(...both.map((one) => one.high));
    const top = Math.max(...both.map(highest));
    const x = (value) => (high > low ? 2 + (126 * (value - low)) / (high - low) : 64);
    const told = (one) => `from ${short(one.low)} to ${short(one.high)}`;
    const from = tensor.source_histogram ? `; the teacher's ${told(tensor.source_histogram)}` : "";
    return make(
      "svg",
      { viewBox: "0 0 130 54", width: "100%", role: "img", "aria-label": `Values ${told(tensor.histogram)}${from}` },
      tensor.source_histogram ? make("path", { class: "theirs", d: steps(tensor.source_histogram, x, top) }) : null,
      make("path", { class: "ours", d: steps(tensor.histogram, x, top) }),
      make("line", { class: "axis", x1: 2, x2: 128, y1: 40.5, y2: 40.5 }),
      ...(high > low
        ? [
            [2, "start", low],
            [128, "end", high],
          ]
        : [[64, "middle", low]]
      ).map(([at, anchor, value]) => make("text", { class: "ends", x: at, y: 52, "text-anchor": anchor }, short(value))),
    );
  }

  // --- the panel of the selected block

  function repeats(tensor) {
    const [out, into] = tensor.repeats || [1, 1];
    return (out > 1 ? `, output channels ×${out}` : "") + (into > 1 ? `, input channels ×${into}` : "");
  }

  function hashes(tensor) {
    const row = (name, value) => (value ? make("div", {}, `${name} `, make("code", {}, value)) : null);
    return make(
      "details",
      {},
      make("summary", {}, "sha256"),
      row("student", tensor.sha256),
      row("teacher", tensor.source_sha256),
    );
  }

  function ours(tensor) {
    const came =
      tensor.source === null ? `fresh: ${tensor.reason}` : `${shape(tensor.source_shape)} → ${shape(tensor.target_shape)}`;
    const how = tensor.source === null ? shape(tensor.target_shape) : `${words[tensor.status]}${repeats(tensor)}`;
    return make(
      "li",
      {},
      make("code", {}, tensor.target),
      histogram(tensor),
      make(
        "span",
        { class: "told" },
        tensor.source === null ? came : make("span", {}, "from ", make("code", {}, tensor.source)),
      ),
      make(
        "span",
        { class: "told" },
        tensor.source === null ? how : `${came}, ${how}${tensor.trained ? "; trained since" : ""}`,
      ),
      hashes(tensor),
    );
  }

  function theirs(name, tensors) {
    const [first] = tensors;
    const places = [...new Set(tensors.map((tensor) => tensor.place))];
    return make(
      "li",
      { class: "plain" },
      make("code", {}, name),
      make("span", { class: "told" }, `${shape(first.source_shape)} → ${places.join(", ")}`),
    );
  }

  function neuron(row) {
    const settings = Object.entries(row.settings).filter(([, value]) => value !== null);
    const told = settings.map(([key, value]) => `${key} ${typeof value === "number" ? short(value) : value}`).join(", ");
    const where = row.source ? ` (${row.source})` : "";
    const at = row.teacher
      ? `in the place of the teacher's ${row.teacher_activation} ${row.teacher}${where}`
      : "the teacher has none at this place";
    return make(
      "li",
      { class: "neuron" },
      make("code", {}, row.name),
      make("span", { class: "told" }, `${shape(row.shape)}, ${told}`),
      make("span", { class: "told" }, at),
    );
  }

  const list = (title, rows) => (rows.length ? [make("h4", {}, title), make("ul", {}, ...rows)] : []);
  const blockOf = (side, place) =>
    record.stages[side]
      .flatMap((stage) => stage.blocks.map((block) => ({ ...block, shape: stage.shape })))
      .find((block) => block.name === place);

  function about(side, place) {
    const block = blockOf(side === "student" ? "target" : "teacher", place);
    if (!block) return "";
    const many = block.convolutions === 1 ? "convolution" : "convolutions";
    const where = block.source ? `, joined at ${block.source}` : "";
    return `${shape(block.shape)}, ${block.convolutions} ${many}, ${block.shortcut} shortcut${where}`;
  }

  function show(key) {
    const [side, place] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
    const told = make("p", { class: "told" }, about(side, place));
    let heading, content;
    if (side === "student") {
      const tensors = record.tensors.filter((tensor) => tensor.place === place);
      const pair = record.pairs.find((one) => one.target === place);
      const from = [...new Set(tensors.map((tensor) => tensor.source_place).filter(Boolean))].join(", ");
      heading = `Student ${place}` + (from ? `, from ${from}` : "") + (pair && pair.rule ? ` (${pair.rule})` : "");
      content = [
        ...list(`${tensors.length} tensors: grey the teacher's values, the line the student's`, tensors.map(ours)),
        ...list("Neurons", record.neurons.filter((row) => row.place === place).map(neuron)),
      ];
    } else {
      const used = new Map();
      for (const tensor of record.tensors.filter((one) => one.source_place === place))
        used.set(tensor.source, [...(used.get(tensor.source) || []), tensor]);
      const left = record.unused.filter((row) => row.place === place);
      const to = [...new Set([...used.values()].flat().map((tensor) => tensor.place))].join(", ");
      heading = `Teacher ${place}` + (to ? `, taken by ${to}` : ", not used");
      const plain = (row) =>
        make(
          "li",
          { class: "plain" },
          make("code", {}, row.source),
          make("span", { class: "told" }, `${shape(row.shape)}: ${row.reason}`),
        );
      content = [
        ...list(
          "Taken",
          [...used].map(([name, tensors]) => theirs(name, tensors)),
        ),
        ...list("Not used", left.map(plain)),
      ];
    }
    panel.replaceChildren(make("h3", {}, heading), told, ...content);
    panel.scrollTop = 0;
    document.getElementById("said").textContent = heading;
  }

  function select(key) {
    const chosen = boxes.get(key);
    const again = !chosen || chosen.getAttribute("aria-pressed") === "true";
    network.classList.toggle("asked", !again);
    for (const box of boxes.values()) {
      box.setAttribute("aria-pressed", String(!again && box === chosen));
      box.classList.remove("on");
    }
    for (const { line, ends } of links) {
      const on = !again && ends.includes(key);
      line.classList.toggle("on", on);
      if (on) ends.forEach((end) => boxes.get(end).classList.add("on"));
    }
    if (again) panel.replaceChildren(make("p", { class: "muted" }, "No block is selected."));
    else show(key);
  }

  // --- one stop of the Tab key a column; arrows go from there

  const columns = [...network.querySelectorAll(".column")].map((column) => [...column.querySelectorAll(".box")]);
  const stop = (box) =>
    columns.find((column) => column.includes(box)).forEach((one) => one.setAttribute("tabindex", one === box ? 0 : -1));
  columns.filter((column) => column.length).forEach((column) => stop(column[0]));

  function across(box) {
    const near = links.find(({ ends }) => ends.includes(box.dataset.key));
    return near && boxes.get(near.ends.find((end) => end !== box.dataset.key));
  }

  function go(event) {
    const box = event.target.closest(".box");
    if (!box) return;
    const column = columns.find((one) => one.includes(box)),
      at = column.indexOf(box);
    const steps = {
      ArrowDown: column[at + 1],
      ArrowUp: column[at - 1],
      Home: column[0],
      End: column.at(-1),
      ArrowLeft: column === columns[1] && across(box),
      ArrowRight: column === columns[0] && across(box),
    };
    if (event.key === "Enter" || event.key === " ") select(box.dataset.key);
    else if (event.key === "Escape") select(null);
    else if (event.key in steps) {
      if (steps[event.key]) {
        stop(steps[event.key]);
        steps[event.key].focus();
      }
    } else return;
    event.preventDefault();
  }
  network.addEventListener("keydown", go);
  network.addEventListener("click", (event) => {
    const box = event.target.closest(".box");
    if (box) {
      stop(box);
      select(box.dataset.key);
    }
  });

  // --- filters: by status and by name; they hold for the figure and for the table of tensors

  const buttons = [...document.querySelectorAll("[data-filter]")];
  const rows = [...document.querySelectorAll("#tensors tbody tr")].map((row) => ({
    row,
    text: row.cells[0].textContent + " " + row.cells[2].textContent,
  }));
  const search = document.getElementById("search");
  let status = "";

  function keep() {
    const kept = new Set();
    for (const [key, box] of boxes) if (status && box.classList.contains(status)) kept.add(key);
    for (const { line, ends } of links) {
      const on = status !== "" && line.classList.contains(status);
      line.classList.toggle("kept", on);
      if (on) ends.forEach((end) => kept.add(end));
    }
    for (const [key, box] of boxes) box.classList.toggle("kept", kept.has(key));
    network.classList.toggle("filtered", status !== "");
  }

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let count = 0;
    for (const { row, text } of rows) {
      row.hidden = (status !== "" && row.dataset.status !== status) || !text.toLowerCase().includes(wanted);
      count += !row.hidden;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.filter === status));
    document.getElementById("count").textContent =
      count === rows.length ? `${count} tensors` : `${count} of ${rows.length} tensors`;
    keep();
  }
  buttons.forEach((button) =>
    button.addEventListener("click", () => {
      status = button.dataset.filter;
      filter();
    }),
  );
  search.addEventListener("input", filter);
})();
