# Set up everything and run the dashboard on Windows. Options go to `detect up`:
#   .\start.ps1
#   .\start.ps1 --no-browser
# When Windows refuses to run it: powershell -ExecutionPolicy Bypass -File start.ps1
# This script has not been tried on a Windows machine yet; please report what breaks.
$ErrorActionPreference = "Stop"
Set-Location $PSScriptRoot
$Venv = if ($env:DETECT_VENV) { $env:DETECT_VENV } else { ".venv" }
$Python = Join-Path $Venv "Scripts\python.exe"
$Detect = Join-Path $Venv "Scripts\detect.exe"
$Stamp = Join-Path $Venv ".detect-installed"

function Fail([string[]] $Lines) {
    $Lines | ForEach-Object { Write-Host "      $_" -ForegroundColor Red }
    exit 1
}

# Windows PowerShell takes any word on a program's stderr for an error that ends the script.
function Test-Python([string] $Version) {
    $ErrorActionPreference = "Continue"
    if (-not (Get-Command py -ErrorAction SilentlyContinue)) { return $false }
    & py "-$Version" -c "pass" 2>&1 | Out-Null
    return $LASTEXITCODE -eq 0
}

Write-Host "[1/3] Python environment"
if (Test-Path $Python) {
    Write-Host "      found $Venv"
} else {
    $Found = $null
    foreach ($Version in "3.13", "3.12", "3.11") {
        if (Test-Python $Version) { $Found = $Version; break }
    }
    if (-not $Found) {
        Fail "Python 3.11 or newer is needed.", "Install it: winget install Python.Python.3.12"
    }
    Write-Host "      making $Venv with Python $Found"
    & py "-$Found" -m venv $Venv
    if ($LASTEXITCODE -ne 0) { Fail "The environment could not be made.", "Remove $Venv, try again." }
}

Write-Host "[2/3] Packages and front-end"
$Files = Get-ChildItem -Recurse -File detect, notebooks, models, pyproject.toml, hatch_build.py |
    Where-Object { $_.FullName -notmatch "node_modules|__pycache__|\\static\\" }
$Want = ($Files | Get-FileHash | ForEach-Object Hash) -join ""
if ((Test-Path $Stamp) -and ((Get-Content -Raw $Stamp).Trim() -eq $Want)) {
    Write-Host "      installed already, nothing changed"
} else {
    Write-Host "      installing (a few minutes the first time) ..."
    & $Python -m pip install --disable-pip-version-check . | Out-Host
    if ($LASTEXITCODE -ne 0) {
        Fail "The installation failed; see above.", "No network? Or remove $Venv and try again."
    }
    Set-Content $Stamp $Want
}

Write-Host "[3/3] Model"
& $Detect models pull | Out-Host
if ($LASTEXITCODE -ne 0) {
    Write-Host "      No model could be downloaded now; the dashboard shows the picture without boxes."
}

& $Detect up @args
exit $LASTEXITCODE
