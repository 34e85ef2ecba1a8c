/** The page's frame: header, navigation between the views, the token, and which view the address names. */
import { render } from '../vendor/preact.js'
import { useEffect, useMemo, useRef, useState } from '../vendor/preact-hooks.js'
import { Api } from './api.js'
import { html } from './html.js'
import { Service } from './service.js'
import { Manage } from './views/manage.js'
import { Overview } from './views/overview.js'
import { TokenDialog } from './views/token.js'
import { Try } from './views/try.js'

const VIEWS = [
  { name: '', title: 'Overview', view: Overview },
  { name: 'try', title: 'Try', view: Try },
  { name: 'manage', title: 'Manage', view: Manage },
]

/** The view and the domain of an address such as `#/manage/eurosat`. @param {string} hash */
function routeOf(hash) {
  const [name = '', domain = ''] = hash.replace(/^#\/?/, '').split('/')
  return { place: VIEWS.find((view) => view.name === name) ?? VIEWS[0], domain: decoded(domain) }
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

function App() {
  const api = useMemo(() => new Api(document.baseURI), [])
  const service = useMemo(() => new Service(api), [api])
  const [state, setState] = useState(service.state)
  const [hash, setHash] = useState(location.hash)
  const [asking, setAsking] = useState(false)
  const main = useRef(/** @type {HTMLElement | null} */ (null))
  const { place, domain } = routeOf(hash)
  const { name, title, view: View } = /** @type {typeof VIEWS[number]} */ (place)

  useEffect(() => service.subscribe(() => setState(service.state)), [service])
  useEffect(() => service.start(), [service])
  useEffect(() => {
    const moved = () => {
      setHash(location.hash)
      // As after the load of a page: the reader begins at the view's heading.
      scrollTo(0, 0)
      main.current?.focus()
    }
    addEventListener('hashchange', moved)
    return () => removeEventListener('hashchange', moved)
  }, [])
  useEffect(() => {
    document.title = `${title} · Facet`
  }, [title])

  const ask = () => setAsking(true)
  const given = (/** @type {string} */ token) => {
    api.setToken(token)
    setAsking(false)
    void service.renew()
  }
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
      event.preventDefault()
      main.current?.focus()
    }}>Skip to the content</a>
    <header class="top">
      <div class="bar">
        <a class="brand" href="#/"><${Mark} />Facet</a>
        <nav aria-label="Views">
          ${VIEWS.map(
            (view) =>
              html`<a href="#/${view.name}" aria-current=${view.name === name ? 'page' : undefined}>${view.title}</a>`,
          )}
        </nav>
        <button type="button" class="quiet" onClick=${ask} aria-haspopup="dialog">
          ${api.hasToken ? 'Token given' : 'Token'}
        </button>
      </div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      <${View} key=${name} api=${api} service=${service} state=${state} domain=${domain} onToken=${ask} />
    </main>
    <footer>
      <p>Facet ${state.version} · <a href="openapi.yaml">API</a> · <a href="metrics">Metrics</a></p>
    </footer>
    ${asking && html`<${TokenDialog} has=${api.hasToken} onGiven=${given} onClose=${() => setAsking(false)} />`}
  `
}

function Mark() {
  return html`
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <path class="gem" d="M16 2 29 10v12L16 30 3 22V10z" />
      <path class="face" d="m16 2 7 10-7 18-7-18z" />
      <path class="spark" d="m16 2 7 10H9z" />
    </svg>
  `
}

const root = /** @type {HTMLElement} */ (document.getElementById('app'))
root.replaceChildren()
render(html`<${App} />`, root)
