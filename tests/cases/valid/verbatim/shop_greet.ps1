Write-Host "Hello, #{Whom?}"
Write-Host "ö"
