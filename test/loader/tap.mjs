/**
 * What each test process of tap loads first (`NODE_OPTIONS` in package.json): our loader, where the test is TypeScript.
 * Then it turns off what tap watches a process with and no test here needs:
 *
 * - mocked modules, and the list of loaded files for coverage and `--changed`: hooks that each import passes through
 * - an async hook on each promise, by which an error that nobody catches fails its subtest. It fails the file without
 *
 * Threads and processes that a test starts get nothing of tap. Threads get our loader; processes are given it.
 */
import asyncHooks from 'node:async_hooks'
import module, { syncBuiltinESMExports } from 'node:module'
import workers from 'node:worker_threads'
import { flagsFor } from './flags.mjs'

const flags = flagsFor(process.argv[1] ?? '')
if (flags.length > 0) await import('./register.mjs')

const hook = { enable: () => hook, disable: () => hook }
const none = () => undefined

class Worker extends workers.Worker {
  /**
   * @param {string | URL} file
   * @param {import('node:worker_threads').WorkerOptions} [options]
   */
  constructor(file, options) {
    super(file, { execArgv: flags, ...options })
  }
}

Object.assign(module, { register: none, registerHooks: none })
Object.assign(asyncHooks, { createHook: () => hook })
Object.assign(workers, { Worker })
syncBuiltinESMExports()

delete process.env.NODE_OPTIONS
// tap's own switch.
process.env.__TAPJS_PROCESSINFO_TESTING_NO_REGISTER__ = String(process.pid)
