"use strict";
// Asks /openai/v1/chat/completions of the server that the page came from, and shows the reply as it arrives.

const $ = (id) => document.getElementById(id);
const MOST_BYTES = 20 * 2 ** 20;
let photo = null;     // the file to ask about
let running = null;   // aborts the request under way

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function clear() {
  for (const id of ["box", "halo"]) $(id).setAttribute("hidden", "");
  for (const id of ["facts", "whole"]) $(id).hidden = true;
  $("reasoning").textContent = "";
  say("");
}

function take(file, name) {
  if (!file || !file.type.startsWith("image/")) return say("This is no picture; give a JPEG or PNG file.", true);
  if (file.size > MOST_BYTES) return say("This picture is larger than 20 MiB; give a smaller one.", true);
  running?.abort();
  clear();
  photo = file;
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(file);
  $("photo").alt = name ? `The photo to look for ${name} on` : "The photo that you gave";
  $("caption").textContent = name ? "An example" : file.name || "A pasted photo";
  $("figure").hidden = false;
  $("invitation").hidden = true;
  if (name) $("entity").value = name;
  else $("entity").focus();
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The picture cannot be read."));
    reader.readAsDataURL(file);
  });
}

// What stands between the model's tags; the answer's own is left to the box.
function thought(text) {
  const opened = text.indexOf("<think>");
  if (opened < 0) return text.replace(/<\/?answer>/g, "");
  return text.slice(opened + 7).split(/<\/think>|<answer>/)[0].trimStart();
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ") && part !== "data: [DONE]") yield JSON.parse(part.slice(6));
  }
}

async function sentence(response) {
  try { return (await response.json()).error; } catch { return `The server answered ${response.status}.`; }
}

function draw(box) {
  const [x1, y1, x2, y2] = box;
  for (const id of ["halo", "box"]) {
    const rect = $(id);
    rect.setAttribute("x", x1); rect.setAttribute("y", y1);
    rect.setAttribute("width", x2 - x1); rect.setAttribute("height", y2 - y1);
    rect.removeAttribute("hidden");
  }
}

function show(prediction, seconds) {
  $("text").textContent = prediction.text;
  $("whole").hidden = false;
  $("time").textContent = `${seconds.toFixed(1)} s`;
  $("pixels").textContent = prediction.box ? prediction.box.join(", ") : "none";
  $("thousandths").textContent = prediction.box_1000 ? prediction.box_1000.join(", ") : "none";
  $("facts").hidden = false;
  if (prediction.reasoning) $("reasoning").textContent = prediction.reasoning;
  const name = $("entity").value.trim();
  if (!prediction.box) return say(`No box: the model did not find ${name}.`);
  draw(prediction.box_1000);
  $("photo").alt = `The photo; ${name} is boxed at ${prediction.box.join(", ")} pixels`;
  say(`Found ${name}.`);
}

async function ask(entity) {
  const started = performance.now();
  running = new AbortController();
  const headers = { "content-type": "application/json" };
  if ($("token").value) headers.authorization = `Bearer ${$("token").value}`;
  const content = [{ type: "image_url", image_url: { url: await dataUrl(photo) } }];
  const body = JSON.stringify({ model: "deepperception", entity, stream: true, messages: [{ role: "user", content }] });
  const response = await fetch("openai/v1/chat/completions", { method: "POST", headers, body, signal: running.signal });
  if (response.status === 401) {
    $("secret").hidden = false;
    $("token").focus();
  }
  if (!response.ok) throw new Error(await sentence(response));
  let text = "";
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error);
    text += event.choices[0]?.delta.content ?? "";
    $("reasoning").textContent = thought(text);
    if (event.prediction) return show(event.prediction, (performance.now() - started) / 1000);
  }
  throw new Error("The answer broke off; try again.");
}

async function submit(event) {
  event.preventDefault();
  const entity = $("entity").value.trim();
  if (!photo) { $("file").focus(); return say("Give a photo first.", true); }
  if (!entity) { $("entity").focus(); return say("Give the name of what to find.", true); }
  clear();
  say(`Looking for ${entity} …`);
  $("find").disabled = true;
  $("stop").hidden = false;
  try {
    await ask(entity);
  } catch (error) {
    say(error.name === "AbortError" ? "Stopped." : error instanceof TypeError ? "The server does not answer." : error.message, error.name !== "AbortError");
  } finally {
    running = null;
    $("find").disabled = false;
    $("stop").hidden = true;
  }
}

async function offer() {
  const response = await fetch("page/examples.json");
  if (!response.ok) return;
  for (const example of await response.json()) {
    const item = document.createElement("li"), button = document.createElement("button"), image = document.createElement("img");
    image.src = example.image;
    image.alt = "";
    button.type = "button";
    button.append(image, `Find ${example.entity}`);
    button.addEventListener("click", async () => {
      take(await (await fetch(example.image)).blob(), example.entity);
      $("form").requestSubmit();
    });
    item.append(button);
    $("list").append(item);
    $("examples").hidden = false;
  }
}

$("form").addEventListener("submit", submit);
$("stop").addEventListener("click", () => running?.abort());
$("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) { event.preventDefault(); take(file); }
});
offer().catch(() => {});
