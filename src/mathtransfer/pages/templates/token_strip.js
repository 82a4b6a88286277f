// Draws every strip on the page that is not drawn yet: no strip needs a name of its own.
(function () {
  const marks = { " ": "·", "\n": "↵", "\r": "␍", "\t": "⇥" };
  const visible = piece => piece.replace(/[ \n\r\t]/g, mark => marks[mark]) || "∅";
  const quoted = piece => "“" + visible(piece) + "”";
  const number = value => Number(value.toPrecision(3)).toString().replace("-", "−");
  const whole = value => value.toLocaleString("en");
  const raised = digits => [...digits].map(digit => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
  function share(p) {
    if (p >= 1e-4) return (100 * p).toPrecision(3) + " %";
    const [digits, power] = p.toExponential(1).split("e");
    return p > 0 ? digits + " × 10" + raised(power) : "0";
  }
  function make(name, text, className) {
    return Object.assign(document.createElement(name), { textContent: text, className: className || "" });
  }

  function draw(strip) {
    const root = strip.attachShadow({ mode: "open" });
    root.append(strip.querySelector("template").content.cloneNode(true));
    const data = JSON.parse(strip.querySelector("script[type='application/json']").textContent);
    const find = name => root.querySelector(name), box = find(".text");
    const choice = find("select[name=text]"), measure = find("select[name=measure]");
    let text, spans, current;

    function colour(part) {
      const at = Math.min(part, 1) * (data.scale.length - 1), below = Math.min(Math.floor(at), data.scale.length - 2);
      const mixed = data.scale[below].map((low, i) => low + (at - below) * (data.scale[below + 1][i] - low));
      return "rgb(" + mixed.map(Math.round).join(" ") + ")";
    }
    function paint() {
      const name = measure.value, end = data.ends[name], values = text[name];
      const bent = name === "rank_shift" ? Math.log1p : value => value;
      spans.forEach((span, i) => { span.style.background = colour(bent(Math.abs(values[i])) / bent(end)); });
      root.querySelectorAll("[data-measure]").forEach(legend => { legend.hidden = legend.dataset.measure !== name; });
    }
    function write() {
      text = data.texts[choice ? choice.value : Object.keys(data.texts)[0]];
      spans = text.piece.map((id, i) => {
        const shown = data.strings[id].replace(/\r?\n/g, "↵\n") || "∅";
        const span = make("span", shown, text.looping[i] ? "looping" : "");
        span.setAttribute("role", "option");
        span.dataset.i = i;
        span.tabIndex = -1;
        return span;
      });
      box.replaceChildren(...spans);
      box.scrollTop = 0;
      paint();
      current = undefined;
      show(text.kl.indexOf(text.kl.reduce((a, b) => Math.max(a, b))));
    }

    function likeliest(model, i) {
      const flat = text["top_" + model][i], pairs = [];
      for (let k = 0; k < flat.length; k += 2) pairs.push([data.strings[flat[k]], flat[k + 1]]);
      return pairs;
    }
    // Two tokens may read alike (broken bytes do), so the observed one is sought from its rank on.
    function list(model, i) {
      const piece = data.strings[text.piece[i]], rank = text["rank_" + model][i], pairs = likeliest(model, i);
      const count = pairs.length;
      let observed = pairs.findIndex((pair, k) => k >= rank && pair[0] === piece);
      if (observed < 0) observed = pairs.push([piece, Math.exp(text["logp_" + model][i])]) - 1;
      find("ol[data-model=" + model + "]").replaceChildren(...pairs.map(([other, p], k) => {
        const item = make("li", "", k === observed ? "observed" : ""), bar = make("i", "");
        item.classList.toggle("beyond", k >= count);
        bar.style.width = Math.max(100 * p, 1) + "%";
        item.append(make("span", visible(other)), bar, make("span", share(p)));
        return item;
      }));
    }
    function sentence(i) {
      const [tuned, base] = ["tuned", "base"].map(
        model => share(Math.exp(text["logp_" + model][i])) + " (rank " + whole(text["rank_" + model][i]) + ")");
      const said = likeliest("base", i)[0], same = text.rank_base[i] === 0;
      const other = same ? " The base would have said the same."
        : said ? " The base would have said " + quoted(said[0]) + " (" + share(said[1]) + ")." : "";
      return ", token " + text.position[i] + ": " + tuned + " under the tuned model, " + base + " under the base."
        + other;
    }
    function show(i) {
      if (i === current || !spans[i]) return;
      if (current !== undefined) { spans[current].tabIndex = -1; spans[current].removeAttribute("aria-selected"); }
      current = i;
      spans[i].tabIndex = 0;
      spans[i].setAttribute("aria-selected", "true");
      find(".said").replaceChildren(make("b", quoted(data.strings[text.piece[i]])), sentence(i));
      const shift = text.rank_shift[i];
      const cells = {
        kl: number(text.kl[i]), js: number(text.js[i]),
        rank_shift: shift ? whole(Math.abs(shift)) + (shift > 0 ? " places up" : " places down") : "none",
      };
      for (const model of ["base", "tuned"]) {
        cells["p_" + model] = share(Math.exp(text["logp_" + model][i]));
        cells["rank_" + model] = whole(text["rank_" + model][i]);
        cells["entropy_" + model] = number(text["entropy_" + model][i]);
        list(model, i);
      }
      for (const name in cells) find("[data-name=" + name + "]").textContent = cells[name];
    }

    // The nearest token on the line above (-1) or below (1).
    function beyond(step) {
      const place = i => spans[i].getClientRects()[0], from = place(current), middle = from.left + from.width / 2;
      let best, line;
      for (let i = current + step; spans[i]; i += step) {
        const here = place(i);
        if (Math.abs(here.top - from.top) < from.height / 2) continue;
        line = line === undefined ? here.top : line;
        if (Math.abs(here.top - line) > from.height / 2) break;
        const off = Math.abs(here.left + here.width / 2 - middle);
        if (!best || off < best.off) best = { i, off };
      }
      return best ? best.i : current;
    }
    function press(event) {
      const moves = {
        ArrowRight: () => current + 1, ArrowLeft: () => current - 1, ArrowDown: () => beyond(1),
        ArrowUp: () => beyond(-1), Home: () => 0, End: () => spans.length - 1,
      };
      if (!moves[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const to = Math.min(Math.max(moves[event.key](), 0), spans.length - 1);
      spans[to].focus();
    }
    const point = event => { if (event.target.dataset.i) show(Number(event.target.dataset.i)); };
    box.addEventListener("mousemove", point);  // mouseover would also follow the text that keys scroll past the mouse
    box.addEventListener("focusin", point);
    box.addEventListener("keydown", press);
    measure.addEventListener("change", paint);
    if (choice) choice.addEventListener("change", write);
    write();
  }
  document.querySelectorAll(".token-strip").forEach(strip => strip.shadowRoot || draw(strip));
})();
