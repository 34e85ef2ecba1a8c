/**
 * `npm run audit`: checks the dependencies against the rules of `dependencies.ts`, and against the registry's
 * list of known vulnerabilities if the registry can be reached. Ends with 1 on a broken rule or a
 * vulnerability of a production dependency.
 */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { packageFile } from '../src/host/package.js'
import { command } from './command.js'
import { checkDependencies, type LockFile, type Manifest } from './dependencies.js'

command('audit', 'Checks the dependencies: our rules, and known vulnerabilities.').parse()

const readJson = async (name: string) => JSON.parse(await readFile(packageFile(name), 'utf8')) as unknown

/** What `npm audit --json` prints: advisories by package, or the reason why the registry did not answer. */
interface NpmAudit {
  vulnerabilities?: Record<string, { name: string; severity: string; range: string }>
  message?: string
  error?: { summary?: string }
}

async function askRegistry(): Promise<NpmAudit> {
  const text = await new Promise<string>((resolve) => {
    const options = { cwd: packageFile('.'), maxBuffer: 2 ** 26, timeout: 60_000 }
    // npm ends with 1 also when it finds a vulnerability, so the exit code alone says nothing.
    execFile('npm', ['audit', '--omit=dev', '--json'], options, (_error, stdout) => resolve(stdout))
  })
  try {
    return JSON.parse(text) as NpmAudit
  } catch {
    return { message: 'npm audit printed no JSON' }
  }
}

const { violations, notes, production, all, licences } = checkDependencies(
  (await readJson('package.json')) as Manifest,
  (await readJson('package-lock.json')) as LockFile,
  await readFile(packageFile('.npmrc'), 'utf8'),
)
console.log(`${production} packages with the service, ${all} with its tests`)
for (const [licence, count] of [...licences].sort(([, a], [, b]) => b - a))
  console.log(`  ${String(count).padStart(3)}  ${licence}`)
for (const note of notes) console.log(`note: ${note}`)

const answer = await askRegistry()
if (answer.vulnerabilities) {
  const found = Object.values(answer.vulnerabilities)
  for (const { name, severity, range } of found)
    violations.push(
      `${name} ${range} has a known vulnerability (${severity}): npm audit --omit=dev says more.`,
    )
  if (found.length === 0) console.log('known vulnerabilities: none')
} else {
  const reason = answer.message ?? answer.error?.summary ?? 'it gave no reason'
  console.log(`known vulnerabilities: NOT ASKED, the registry did not answer (${reason})`)
}
for (const violation of violations) console.error(`violation: ${violation}`)
console.log(violations.length === 0 ? 'all rules hold' : `${violations.length} violations`)
process.exitCode = violations.length > 0 ? 1 : 0
