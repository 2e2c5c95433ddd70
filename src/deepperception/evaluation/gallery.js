// Shows the cases that fit the form; without scripts all of them are shown, and no form.
const form = document.getElementById("filter");
const cases = [...document.querySelectorAll("#gallery > .case")];
function sift() {
  const words = form.words.value.trim().toLowerCase();
  let shown = 0;
  for (const each of cases) {
    const fits = ["kind", "category", "seen"].every((key) => !form[key].value || form[key].value === each.dataset[key]);
    each.hidden = !(fits && each.textContent.toLowerCase().includes(words));
    shown += !each.hidden;
  }
  form.count.value = `${shown} shown`;
}
form.addEventListener("input", sift);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
sift();
