// The API: every request carries the key of this tab, and every error is the problem that the server told.

const KEY = "tallystick.key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

export class ApiProblem extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

// What is asked for while a page is shown ends with the page.
export function client(signal, onUnauthorised) {
  async function ask(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, signal, headers: { ...options.headers, Authorization: `Bearer ${key.get()}` }, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiProblem({ title: "The server cannot be reached", detail: "Is it running?", remedy: "Start it with: tally serve" });
    }
    if (response.status === 401) onUnauthorised();
    if (!response.ok) {
      const isProblem = (response.headers.get("content-type") ?? "").startsWith("application/problem+json");
      throw new ApiProblem(isProblem ? await response.json() : { title: `The server answered ${response.status}` });
    }
    return response;
  }
  return {
    json: async (path) => (await ask(path)).json(),
    text: async (path) => (await ask(path)).text(),
    bytes: async (path) => new Uint8Array(await (await ask(path)).arrayBuffer()),
    post: async (path) => (await ask(path, { method: "POST" })).json(),
  };
}

// A path with its parameters; those that say nothing are left out.
export function at(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return query.size ? `${path}?${query}` : path;
}

// Hands a file to the person.
export function save(data, name, type = "application/octet-stream") {
  const url = URL.createObjectURL(new Blob([data], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
